"""Files behind any HTTP server: small ones as a whole, ranges of large ones."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from store_server.cluster.blocks.block_source import SourceFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping

    from typing_extensions import Buffer

_READ_BYTES: Final = 256 << 10
_NOT_FOUND: Final = 404


class HttpFiles:
    """`url` is where the directory lies. Redirects are not followed: a source is the server that was named.

    One connection is kept, and opened anew when it fails. For one thread at a time, but for `interrupt`. Any method may
    raise SourceFailed.
    """

    def __init__(self, url: str, wait_seconds: float) -> None:
        """`wait_seconds` limits all waits for one answer up to its content, one small file, one part of a range."""
        self.url = url
        parts = urlsplit(url)
        self._path = parts.path.rstrip("/")
        self._wait_seconds = wait_seconds
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname or "", parts.port, timeout=wait_seconds, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=wait_seconds)
        self._connection.response_class = self._response  # type: ignore[assignment]  # it only calls it
        self._deadline = 0.0
        self._socket: socket.socket | None = None
        self._is_interrupted = False

    def whole(self, place: str, *, most_bytes: int) -> bytes | None:
        """Return the file at `place`, quoted and relative to the directory; None if there is none."""
        path = f"{self._path}/{place}"
        response = self._answer(path, None)
        try:
            if response.status == _NOT_FOUND:
                return None
            if response.status != http.HTTPStatus.OK:
                raise self._refused(path, response)
            if response.length is None or response.length > most_bytes:
                limit = f"at most {most_bytes:,} bytes"
                raise SourceFailed(self.url, f"{path}: must say its length, {limit}, got {response.length}")
            return self._read(response, response.length)
        finally:
            self._let_go_of(response)

    def parts(self, place: str, start: int, sizes: Iterable[int], *, file_bytes: int) -> Generator[bytes, None, None]:
        """Yield what lies behind each other from byte `start` on, in parts of these sizes; one request for all.

        A file that has not `file_bytes` is another one.
        """
        path, sizes = f"{self._path}/{place}", list(sizes)
        stop = start + sum(sizes)
        response = self._answer(path, f"bytes={start}-{stop - 1}")
        try:
            self._check_range(path, response, f"bytes {start}-{stop - 1}/{file_bytes}")
            for size in sizes:
                yield self._read(response, size)
        finally:
            self._let_go_of(response)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def interrupt(self) -> None:
        """Let whoever waits for an answer get SourceFailed, now and from now on. For any thread, before `close`."""
        self._is_interrupted = True
        if self._socket is not None:
            with suppress(OSError):  # it may have been closed
                self._socket.shutdown(socket.SHUT_RDWR)

    def _let_go_of(self, response: http.client.HTTPResponse) -> None:
        if not response.isclosed():  # whatever is on its way still belongs to this answer
            self._connection.close()

    def _check_range(self, path: str, response: http.client.HTTPResponse, expected: str) -> None:
        if response.status == http.HTTPStatus.OK:
            raise SourceFailed(self.url, f"{path}: the server ignores ranges, and would send the whole file each time")
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            raise self._refused(path, response)
        found = response.headers.get("Content-Range", "none")
        if found != expected:
            raise SourceFailed(self.url, f"{path}: asked for {expected}, the server sends {found:.100}")

    def _answer(self, path: str, wanted: str | None) -> http.client.HTTPResponse:
        self._deadline = time.monotonic() + self._wait_seconds
        headers = {"Accept-Encoding": "identity", **({"Range": wanted} if wanted else {})}
        for attempt in (1, 2):  # a connection that was kept may have been closed by the server meanwhile
            try:
                self._ask(path, headers)
                return self._connection.getresponse()
            except (http.client.HTTPException, OSError) as error:
                self._connection.close()
                if (
                    attempt == 2
                    or self._is_interrupted
                    or not isinstance(error, http.client.RemoteDisconnected | ConnectionError)
                ):
                    raise SourceFailed(self.url, f"{path}: {error or type(error).__name__}") from error
        raise AssertionError("the second attempt returns or raises")

    def _ask(self, path: str, headers: Mapping[str, str]) -> None:
        if self._connection.sock is None:
            self._connection.connect()
            self._socket = self._connection.sock
        if self._is_interrupted:  # looked at last: `interrupt` either finds the socket or is seen here
            raise SourceFailed(self.url, "was interrupted")
        self._connection.sock.settimeout(self._wait_seconds)
        self._connection.request("GET", path, headers=headers)

    def _response(self, connected: socket.socket, method: str) -> http.client.HTTPResponse:
        """Return a response that reads its head and its content until the deadline."""
        response = http.client.HTTPResponse(connected, method=method)
        response.fp = io.BufferedReader(_UntilDeadline(connected, response.fp.detach(), self._seconds_left))
        return response

    def _seconds_left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"timed out, takes more than {self._wait_seconds:g} s")
        return left

    def _read(self, response: http.client.HTTPResponse, num_bytes: int) -> bytes:
        """Read exactly so many bytes, all within the time limit, however slowly they trickle in."""
        self._deadline, data = time.monotonic() + self._wait_seconds, bytearray()
        while len(data) < num_bytes:
            try:
                part = response.read1(min(_READ_BYTES, num_bytes - len(data)))
            except (http.client.HTTPException, OSError) as error:
                raise SourceFailed(self.url, f"after {len(data):,} of {num_bytes:,} bytes: {error}") from error
            if not part:
                raise SourceFailed(self.url, f"ends after {len(data):,} of {num_bytes:,} bytes")
            data += part
        return bytes(data)

    def _refused(self, path: str, response: http.client.HTTPResponse) -> SourceFailed:
        location = response.headers.get("Location")
        what = f", which leads to {location:.200}; name that server instead" if location else ""
        return SourceFailed(self.url, f"{path}: answered {response.status} {response.reason}{what}")


class _UntilDeadline(io.RawIOBase):
    """What comes from a socket, `raw`, for as long as there are seconds left."""

    def __init__(self, connected: socket.socket, raw: io.RawIOBase, seconds_left: Callable[[], float]) -> None:
        self._socket, self._raw, self._seconds_left = connected, raw, seconds_left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int | None:
        self._socket.settimeout(self._seconds_left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
