"""A port in plain text that answers the standard health service and nothing else: for probes, which speak no TLS.

It is there before tables are loaded, and knows three names: "" tells whether clients are served, "startup" whether the
tables were opened, "liveness" that somebody answers at all: in a node of several processes a worker, or one that can
take its place. Names of tables stay inside.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeAlias

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from store_server.limits.connections import Connections
from store_server.listen_address import CannotListen, ListenAddress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = structlog.get_logger()

Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"
READY: Final = ""
STARTED: Final = "startup"
ALIVE: Final = "liveness"
_Response = health_pb2.HealthCheckResponse
_MOST_CONNECTIONS: Final = 64
_LOOK_SECONDS: Final = 5.0
_MOST_WATCHES: Final = 16
_WATCH_SECONDS: Final = 600.0
_MOST_CALLS: Final = 64
_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 1024),
    ("grpc.max_metadata_size", 4096),
    ("grpc.absolute_max_metadata_size", 8192),
    ("grpc.max_concurrent_streams", 8),
    ("grpc.max_connection_idle_ms", 30_000),
    ("grpc.max_connection_age_ms", int(_WATCH_SECONDS * 1000)),
    ("grpc.max_connection_age_grace_ms", 1_000),
)


class HealthPort:
    """What the port tells. Belongs to the event loop."""

    def __init__(self, *, most_watches: int = _MOST_WATCHES, watch_seconds: float = _WATCH_SECONDS) -> None:
        self._servicer = _ProbeServicer(most_watches, watch_seconds)
        self._server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=_MOST_CALLS)
        self._connections = Connections(_MOST_CONNECTIONS)

    async def listen(self, listen: ListenAddress) -> str:
        """Answer from now on, that nothing is served yet; returns the address. Raises CannotListen."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, self._server)
        await asyncio.to_thread(listen.require_free)
        try:
            port = self._server.add_insecure_port(listen.for_grpc())
        except RuntimeError as error:
            raise CannotListen(listen.text, error) from error
        self._connections.listen_on(port)
        await self._server.start()
        return listen.for_clients(port)

    def tell(self, is_ready: bool) -> None:
        """Say whether clients are served; to say either also tells that the tables were opened. See Readiness."""
        self._servicer.become({READY: is_ready, STARTED: True})

    def tell_alive(self, is_alive: bool) -> None:
        """Say whether a node of several processes lives; that of one does as long as it answers."""
        self._servicer.become({ALIVE: is_alive})

    async def look_after(self) -> None:
        """Keep to the number of connections until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await asyncio.to_thread(self._connections.look)

    async def close(self) -> None:
        """Answer no more."""
        await self._server.stop(None)


@asynccontextmanager
async def health_port(listen: str) -> AsyncIterator[HealthPort]:
    """Answer at an address as long as the block lasts. Raises CannotListen."""
    port = HealthPort()
    try:
        log.info("health port", address=await port.listen(ListenAddress.parse(listen)))
        looking = asyncio.create_task(port.look_after())
        try:
            yield port
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking
    finally:
        await port.close()


class _ProbeServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # it has no types
    """Watching has an end: who watches for ever takes from those who ask. Nobody waits for who does not read."""

    def __init__(self, most_watches: int, watch_seconds: float) -> None:
        self._most_watches = most_watches
        self._watch_seconds = watch_seconds
        self._watches = 0
        self._are_served = {READY: False, STARTED: False, ALIVE: True}
        self._changed = asyncio.Event()  # another one after each change

    def become(self, are_served: dict[str, bool]) -> None:
        """Say from now on whether these names are served."""
        are_served = {**self._are_served, **are_served}
        if are_served != self._are_served:
            self._are_served = are_served
            self._changed.set()
            self._changed = asyncio.Event()

    async def Check(  # noqa: N802  # as the service has it
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in self._are_served:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"known are {', '.join(map(repr, self._are_served))}")
        return self._told(request.service)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:  # noqa: N802
        if self._watches >= self._most_watches:
            detail = f"at most {self._most_watches} calls of Watch at a time; ask with Check"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, detail)
        self._watches += 1
        try:
            async with asyncio.timeout(self._watch_seconds):
                await self._tell_changes(request.service, context)
        except TimeoutError:
            detail = f"a call of Watch ends after {self._watch_seconds:g} s; begin another"
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, detail)
        finally:
            self._watches -= 1

    async def _tell_changes(self, service: str, context: Context) -> None:
        told = None
        while True:
            changed, response = self._changed, self._told(service)
            if response != told:
                await context.write(response)
                told = response
            await changed.wait()

    def _told(self, service: str) -> health_pb2.HealthCheckResponse:
        is_served = self._are_served.get(service)
        if is_served is None:
            return _Response(status=_Response.SERVICE_UNKNOWN)
        return _Response(status=_Response.SERVING if is_served else _Response.NOT_SERVING)
