"""Rows straight from a data root of this host, without a server: file:///ROOT."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import numpy as np

from engram_client import errors
from engram_client.arrays import Int64Array, Uint8Array
from engram_client.retry import check_timeout
from engram_client.table_info import TableInfo

try:
    from store_server import storage
except ImportError as missing:  # the client alone is installed
    raise errors.EngramError(f"file:/// needs the extra 'server' of engram-store: {missing}") from missing

_ERROR_OF: Final[dict[type[storage.StorageError], type[errors.EngramError]]] = {
    storage.InvalidTableName: errors.InvalidTableName,
    storage.TableNotFound: errors.TableNotFound,
    storage.VersionNotFound: errors.VersionNotFound,
    storage.TableDamaged: errors.TableDamaged,
    storage.RootNotFound: errors.Unavailable,
    storage.BackendClosed: errors.StoreClosed,
}
_Result = TypeVar("_Result")
# The kernel takes up to 26 ms a GiB to say what lies in RAM, and a table may have hundreds.
_SECONDS_ON_RESIDENCY: Final = 0.1
_NO_LIMIT: Final = (1 << 31) - 1  # there is no message whose size could be limited


class EmbeddedTransport:
    """Reads the tables of one data root in place."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._root: storage.DataRoot | None = None
        self._backends: dict[tuple[str, str], storage.Backend] = {}
        self._resident_set = storage.ResidentSet()
        self._closed = False

    async def list_tables(self, timeout: float) -> list[TableInfo]:
        """Describe the current version of every table, ordered by name."""
        return await self._in_thread(self._list_tables, timeout)

    async def get_table(self, name: str, version: str, timeout: float) -> TableInfo:
        """Describe one version of a table; "" is the current one. Opens its files."""
        return await self._in_thread(lambda: self._open_table(name, version), timeout)

    async def fetch(self, table: TableInfo, rows: Int64Array, out: Uint8Array, timeout: float) -> None:
        """Put `rows` (n,) into `out` (n, row_bytes)."""
        self._check_open()
        with _client_errors():
            backend = self._backends[table.name, table.version]
            if backend.gather_from_ram(rows, out):  # memory speed: no thread is worth its hop
                return
        # Rows that may lie on disk keep the loop waiting, so a thread fetches them. A thread cannot be cancelled: it
        # fills a buffer of its own, and only a fetch that is still wanted copies that into the caller's.
        gathered = np.empty_like(out)
        await self._in_thread(lambda: backend.gather(rows, gathered), timeout)
        np.copyto(out, gathered)

    async def close(self) -> None:
        """Let go of all files."""
        self._closed = True
        for backend in self._backends.values():
            backend.close()
        self._backends.clear()

    def _open_root(self) -> storage.DataRoot:
        if self._root is None:
            self._root = storage.DataRoot.open(self._path)
        return self._root

    def _list_tables(self) -> list[TableInfo]:
        root = self._open_root()
        return [_described(root, name, root.current_version(name)) for name in root.table_names()]

    def _open_table(self, name: str, version: str) -> TableInfo:
        root = self._open_root()
        version = version or root.current_version(name)
        described = _described(root, name, version)
        if (name, version) not in self._backends:
            self._backends[name, version] = root.open_backend(name, version, resident_set=self._resident_set)
        self._backends[name, version].refresh_residency(time.monotonic() + _SECONDS_ON_RESIDENCY)
        return described

    async def _in_thread(self, work: Callable[[], _Result], timeout: float) -> _Result:
        self._check_open()
        check_timeout(timeout)
        try:
            async with asyncio.timeout(timeout):
                with _client_errors():
                    return await asyncio.to_thread(work)
        except TimeoutError as error:
            raise errors.TimeLimitExceeded(f"reading {self._path} took more than {timeout:g} s") from error

    def _check_open(self) -> None:
        if self._closed:
            raise errors.StoreClosed(f"the store at {self._path} is closed")


def _described(root: storage.DataRoot, name: str, version: str) -> TableInfo:
    manifest = root.manifest(name, version)
    return TableInfo(
        name=name,
        version=version,
        num_rows=manifest.num_rows,
        row_bytes=manifest.row_bytes,
        row_format=manifest.row_format,
        fingerprint=manifest.fingerprint,
        backend=manifest.backend,
        max_rows_per_lookup=_NO_LIMIT,
    )


@contextlib.contextmanager
def _client_errors() -> Iterator[None]:
    try:
        yield
    except storage.StorageError as error:
        kind = next((ours for theirs, ours in _ERROR_OF.items() if isinstance(error, theirs)), errors.EngramError)
        raise kind(str(error)) from error
