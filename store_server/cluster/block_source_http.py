"""Blocks of a data root that lies behind any HTTP server: ranges of its flat data files."""

from __future__ import annotations

import http.client
import ssl
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from store_server.cluster.block_source import SourceFailed
from store_server.storage import StorageError
from store_server.storage.data_root import MANIFEST, TABLES, VERSIONS
from store_server.storage.files.data_file import DATA_FILE_KINDS
from store_server.storage.held_blocks import HELD, ranges_held
from store_server.storage.names import directory_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_server.storage import Manifest

_MOST_SMALL_FILE_BYTES: Final = 256 << 20  # a manifest has 35 bytes a block, so this is one of 8 TB
_READ_BYTES: Final = 256 << 10
_NOT_FOUND: Final = 404


class HttpSource:
    """`url` is where the data root lies. Redirects are not followed: a source is the server that was named.

    One connection is kept, and opened anew when it fails. For one thread at a time.
    """

    def __init__(self, url: str, wait_seconds: float) -> None:
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

    def manifest(self, table: str, version: str) -> bytes:
        """See BlockSource.manifest."""
        found = self._small_file(table, version, MANIFEST)
        if found is None:
            raise SourceFailed(self.url, f"has no version {version} of table {table!r}")
        return found

    def blocks(self, table: str, manifest: Manifest, first: int, count: int) -> Iterator[tuple[int, bytes]]:
        """See BlockSource.blocks. The rows must lie in a flat file there."""
        held = self._small_file(table, manifest.version, HELD)
        try:
            ranges = [(0, manifest.num_blocks)] if held is None else ranges_held(held, manifest.num_blocks)
        except (ValueError, RecursionError) as error:
            raise SourceFailed(self.url, f"{HELD} does not say which blocks are held: {error}") from error
        for begin, end in ranges:
            begin, end = max(begin, first), min(end, first + count)
            if begin < end:
                yield from self._run(table, manifest, begin, end)

    def close(self) -> None:
        """See BlockSource.close."""
        self._connection.close()

    def _run(self, table: str, manifest: Manifest, begin: int, end: int) -> Iterator[tuple[int, bytes]]:
        block_bytes = manifest.block_rows * manifest.row_bytes
        start, stop = begin * block_bytes, min(end * block_bytes, manifest.num_bytes)
        path = self._place(table, manifest.version, DATA_FILE_KINDS["mmap"].file_name)
        response = self._answer(path, f"bytes={start}-{stop - 1}")
        try:
            expected = f"bytes {start}-{stop - 1}/{manifest.num_bytes}"
            self._check_range(path, response, expected)
            for block in range(begin, end):
                yield block, self._read(response, manifest.rows_in_block(block) * manifest.row_bytes)
        finally:
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

    def _small_file(self, table: str, version: str, name: str) -> bytes | None:
        """Return a file of a version, None if there is none."""
        path = self._place(table, version, name)
        response = self._answer(path, None)
        try:
            if response.status == _NOT_FOUND:
                return None
            if response.status != http.HTTPStatus.OK:
                raise self._refused(path, response)
            if response.length is None or response.length > _MOST_SMALL_FILE_BYTES:
                limit = f"at most {_MOST_SMALL_FILE_BYTES:,} bytes"
                raise SourceFailed(self.url, f"{path}: must say its length, {limit}, got {response.length}")
            return self._read(response, response.length)
        finally:
            if not response.isclosed():
                self._connection.close()

    def _answer(self, path: str, wanted: str | None) -> http.client.HTTPResponse:
        headers = {"Accept-Encoding": "identity", **({"Range": wanted} if wanted else {})}
        for attempt in (1, 2):  # a connection that was kept may have been closed by the server meanwhile
            try:
                self._connection.request("GET", path, headers=headers)
                return self._connection.getresponse()
            except (http.client.HTTPException, OSError) as error:
                self._connection.close()
                if attempt == 2 or not isinstance(error, http.client.RemoteDisconnected | ConnectionError):
                    raise SourceFailed(self.url, f"{path}: {error or type(error).__name__}") from error
        raise AssertionError("the second attempt returns or raises")

    def _read(self, response: http.client.HTTPResponse, num_bytes: int) -> bytes:
        """Read exactly so many bytes, all within the time limit, however slowly they trickle in."""
        deadline, data = time.monotonic() + self._wait_seconds, bytearray()
        while len(data) < num_bytes:
            try:
                part = response.read1(min(_READ_BYTES, num_bytes - len(data)))
            except (http.client.HTTPException, OSError) as error:
                raise SourceFailed(self.url, f"after {len(data):,} of {num_bytes:,} bytes: {error}") from error
            if not part:
                raise SourceFailed(self.url, f"ends after {len(data):,} of {num_bytes:,} bytes")
            if time.monotonic() > deadline:
                limit = f"more than {self._wait_seconds:g} s"
                raise SourceFailed(self.url, f"takes {limit} for {num_bytes:,} bytes, {len(data):,} came")
            data += part
        return bytes(data)

    def _refused(self, path: str, response: http.client.HTTPResponse) -> SourceFailed:
        location = response.headers.get("Location")
        what = f", which leads to {location:.200}; name that server instead" if location else ""
        return SourceFailed(self.url, f"{path}: answered {response.status} {response.reason}{what}")

    def _place(self, table: str, version: str, name: str) -> str:
        try:
            return f"{self._path}/{TABLES}/{quote(directory_of(table))}/{VERSIONS}/{quote(version, safe='')}/{name}"
        except StorageError as error:
            raise SourceFailed(self.url, str(error)) from error
