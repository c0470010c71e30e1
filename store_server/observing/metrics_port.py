"""The port at which a node shows its metrics: HTTP, a few requests at a time, none of them for long."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from contextlib import asynccontextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import structlog
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from store_server.listen_address import CannotListen, ListenAddress
from store_server.observing.metrics_tls import MetricsTls

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from store_server.config import ServerConfig
    from store_server.tls_config import TlsConfig

log = structlog.get_logger()
_MOST_REQUESTS: Final = 8  # at a time; more are hung up on
_REQUEST_SECONDS: Final = 10.0  # for a request and its answer, however often a byte of them comes
_LOOK_SECONDS: Final = 0.25  # how often it is looked for those that take longer
_WELCOME: Final = b"engram-store: the metrics of this node are at /metrics\n"


class MetricsPort:
    """Answers /metrics with what `exposition` returns, which is called in threads, until it is closed.

    `tls` returns how a connection is to be secured, and is asked for each, so that new certificates count at once.
    Nobody has longer than `request_seconds`. Raises CannotListen.
    """

    def __init__(
        self,
        listen: str,
        exposition: Callable[[], bytes],
        tls: Callable[[], ssl.SSLContext] | None = None,
        *,
        request_seconds: float = _REQUEST_SECONDS,
    ) -> None:
        address = ListenAddress.parse(listen)
        try:
            self._server = _Server(address, exposition, tls, request_seconds)
        except OSError as error:
            raise CannotListen(listen, error) from error
        self.address = address.for_clients(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_LOOK_SECONDS,), name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening; requests under way are not waited for."""
        self._server.shutdown()
        self._server.server_close()


@asynccontextmanager
async def metrics_shown(config: ServerConfig, exposition: Callable[[], bytes]) -> AsyncIterator[None]:
    """Show metrics where the settings say, as long as the block lasts. Raises CannotListen."""
    if config.metrics_listen is None:
        yield
        return
    port = await asyncio.to_thread(_port, config.metrics_listen, exposition, config.tls)
    log.info("metrics are shown", address=port.address)
    try:
        yield
    finally:
        await asyncio.to_thread(port.close)


def _port(listen: str, exposition: Callable[[], bytes], tls: TlsConfig | None) -> MetricsPort:
    try:
        return MetricsPort(listen, exposition, None if tls is None else MetricsTls(tls))
    except OSError as error:
        raise CannotListen(listen, f"its certificate cannot be used: {error}") from error


class _Server(ThreadingMixIn, TCPServer):
    daemon_threads = True
    allow_reuse_address = True  # a port just left may be had
    request_queue_size = _MOST_REQUESTS

    def __init__(
        self,
        listen: ListenAddress,
        exposition: Callable[[], bytes],
        tls: Callable[[], ssl.SSLContext] | None,
        request_seconds: float,
    ) -> None:
        found = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, address = found[0][0], found[0][4]
        self.exposition = exposition
        self._tls = tls
        self._request_seconds = request_seconds
        self._began: dict[socket.socket, float] = {}
        super().__init__(address[:2], _Handler)  # type: ignore[arg-type]  # a host and a port

    def get_request(self) -> tuple[socket.socket, Any]:
        """Return the next connection; raises OSError for one that cannot be had, which is passed over."""
        connection, address = super().get_request()
        connection.settimeout(self._request_seconds)
        if self._tls is None:
            return connection, address
        try:
            # The handshake waits for the other side, and belongs into the thread of the request.
            return self._tls().wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address
        except OSError as error:
            connection.close()
            log.error("metrics cannot be shown, no certificate", error=str(error))
            raise

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        if len(self._began) >= _MOST_REQUESTS:
            self.shutdown_request(request)
            return
        self._began[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401
        self._began.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Hang up on those that have taken too long."""
        latest = time.monotonic() - self._request_seconds
        for request in [request for request, began in self._began.copy().items() if began < latest]:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(request, socket.SHUT_RDWR)  # past TLS, which another thread is using

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002
        """Pass over callers that went away or never spoke HTTP: their thread ends, and nobody else is concerned."""
        log.debug("request for metrics failed", caller=str(client_address), exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "engram-store", ""

    def do_GET(self) -> None:  # as http.server calls it
        path = urlsplit(self.path).path
        if path == "/metrics":
            self._answer_with_metrics()
        elif path == "/":
            self._answer(HTTPStatus.OK, _WELCOME)
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"there is only /metrics here\n")

    def _answer_with_metrics(self) -> None:
        try:
            text = self.server.exposition()
        except Exception:  # a mistake of ours: who scrapes must see that something is wrong
            log.exception("metrics could not be collected")
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"the log of the node says why\n")
            return
        self._answer(HTTPStatus.OK, text, CONTENT_TYPE_PLAIN_0_0_4)

    def _answer(self, status: HTTPStatus, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write no line for a request, which comes every few seconds."""
