"""The transport of file:///ROOT: what lies in RAM is copied on the loop, a slice at a time; threads do the rest."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Final, TypeVar

import numpy as np

from engram_client import errors
from engram_client.arrays import Int64Array, Uint8Array
from engram_client.embedded.disk_threads import DiskThreads
from engram_client.embedded.local_version import LocalVersion
from engram_client.embedded.storage_errors import client_errors
from engram_client.loop_turns import LoopTurns, rows_a_slice
from engram_client.retry import with_retries
from engram_client.table_info import TableInfo
from store_server import storage

_Result = TypeVar("_Result")
_NO_LIMIT: Final = (1 << 31) - 1  # there is no message whose size could be limited


class EmbeddedTransport:
    """Reads the tables of one data root in place. Files are open as long as somebody holds their table's description.

    `open_root` and `clock` (seconds, as time.monotonic) are for tests.
    """

    def __init__(
        self,
        path: str,
        *,
        open_root: Callable[[str], storage.DataRoot] = storage.DataRoot.open,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._open_root = open_root
        self._clock = clock
        self._versions: dict[tuple[str, str], LocalVersion] = {}
        self._changing_versions = threading.Lock()
        self._resident_set = storage.ResidentSet()
        self._threads = DiskThreads()
        self._turns = LoopTurns()
        self._refreshing: asyncio.Task[None] | None = None
        self._closed = False

    async def list_tables(self, timeout: float) -> list[TableInfo]:
        """Describe the current version of every table, ordered by name; what is damaged is left out."""
        return await self._tried(lambda: self._in_thread(self._list_tables), timeout, "listing the tables")

    async def get_table(self, name: str, version: str, timeout: float) -> TableInfo:
        """Describe one version of a table; "" is the current one. Opens its files."""
        return await self._tried(
            lambda: self._in_thread(lambda: self._open_table(name, version)), timeout, f"opening table {name!r}"
        )

    async def fetch(self, table: TableInfo, rows: Int64Array, out: Uint8Array, timeout: float) -> None:
        """Put `rows` (n,) into `out` (n, row_bytes)."""
        self._check_open()
        version = self._versions[table.name, table.version]
        if not self._fetched_at_once(version, rows, out):
            what = f"fetching {len(rows)} rows of table {table.name!r}"
            await self._tried(lambda: self._fetch(version, rows, out), timeout, what)
        elif self._turns.is_due(len(rows), table.row_bytes):
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Let go of all files."""
        self._closed = True
        self._threads.close()
        for version in list(self._versions.values()):
            version.close()

    def _fetched_at_once(self, version: LocalVersion, rows: Int64Array, out: Uint8Array) -> bool:
        """Fetch what is one slice in RAM, as most fetches are: watching a time limit would take longer than that."""
        if len(rows) > rows_a_slice(out.shape[1]) or version.has_to_be_looked_at(self._clock()):
            return False
        self._refresh_residency_of(version)
        with contextlib.suppress(errors.Unavailable), client_errors():
            return version.backend().gather_from_ram(rows, out)
        return False

    async def _fetch(self, version: LocalVersion, rows: Int64Array, out: Uint8Array) -> None:
        if version.has_to_be_looked_at(self._clock()):
            await self._in_thread(lambda: version.look(self._clock()))
        self._refresh_residency_of(version)
        step = rows_a_slice(out.shape[1])
        for start in range(0, len(rows), step):
            if start:
                await asyncio.sleep(0)  # the loop has others to serve, and to tell us of the time limit
            await self._gather(version, rows[start : start + step], out[start : start + step])

    async def _gather(self, version: LocalVersion, rows: Int64Array, out: Uint8Array) -> None:
        with client_errors():
            backend = version.backend()
            if backend.gather_from_ram(rows, out):  # memory speed: no thread is worth its hop
                return
        # Rows that may lie on disk keep the loop waiting, so a thread fetches them. A thread cannot be cancelled: it
        # fills a buffer of its own, and only a fetch that is still wanted copies that into the caller's.
        gathered = np.empty_like(out)
        await self._in_thread(lambda: backend.gather(rows, gathered))
        np.copyto(out, gathered)

    def _list_tables(self) -> list[TableInfo]:
        root = self._open_root(self._path)
        described = (_current_version(root, name) for name in root.table_names())
        return [info for info in described if info is not None]

    def _open_table(self, name: str, version: str) -> TableInfo:
        root = self._open_root(self._path)
        if version:
            return self._open_version(root, name, version)
        current = root.current_version(name)
        try:
            return self._open_version(root, name, current)
        except (storage.VersionNotFound, storage.TableDamaged) as error:
            if root.current_version(name) == current:
                raise
            # Another one was published and this one dropped while we were at it.
            raise errors.Unavailable(f"the current version has just changed: {error}") from error

    def _open_version(self, root: storage.DataRoot, name: str, version: str) -> TableInfo:
        manifest = root.manifest(name, version)
        with self._changing_versions:
            info = self._known_or_new(root, name, manifest)
            opened = self._versions[name, version]
        opened.look(self._clock())
        if self._closed:  # meanwhile: then nobody else closes what is new
            opened.close()
        return info

    def _known_or_new(self, root: storage.DataRoot, name: str, manifest: storage.Manifest) -> TableInfo:
        self._versions = {key: version for key, version in self._versions.items() if not version.is_closed}
        known = self._versions.get((name, manifest.version))
        info = known.info() if known is not None else None
        if info is None:
            info = _described(name, manifest)
            self._versions[name, manifest.version] = LocalVersion(root, info, manifest, self._resident_set)
        return info

    def _refresh_residency_of(self, version: LocalVersion) -> None:
        """Have a thread ask the kernel what lies in RAM, now and then, while fetches go on."""
        if (self._refreshing is None or self._refreshing.done()) and version.residency_is_old(self._clock()):
            self._refreshing = asyncio.create_task(self._refresh_residency(version))

    async def _refresh_residency(self, version: LocalVersion) -> None:
        with contextlib.suppress(errors.EngramError):  # then what was known before has to do
            await self._in_thread(version.refresh_residency)

    async def _tried(self, attempt: Callable[[], Coroutine[None, None, _Result]], timeout: float, what: str) -> _Result:
        self._check_open()
        try:
            return await with_retries(attempt, timeout, f"{what} from {self._path}")
        except storage.RootNotFound as error:
            raise errors.Unavailable(str(error)) from error

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        self._check_open()
        try:
            with client_errors():
                return await self._threads.run(work)
        finally:
            self._check_open()  # closing cancels what waits, and takes the files away from what runs

    def _check_open(self) -> None:
        if self._closed:
            raise errors.StoreClosed(f"the store at {self._path} is closed")


def _current_version(root: storage.DataRoot, name: str) -> TableInfo | None:
    try:
        stored = root.stored_version(name, root.current_version(name))
    except (storage.StorageError, OSError):
        return None  # what cannot be read is not offered; opening it says what is wrong
    return _described(name, stored.manifest)


def _described(name: str, manifest: storage.Manifest) -> TableInfo:
    return TableInfo(
        name=name,
        version=manifest.version,
        num_rows=manifest.num_rows,
        row_bytes=manifest.row_bytes,
        row_format=manifest.row_format,
        fingerprint=manifest.fingerprint,
        backend=manifest.backend,
        max_rows_per_lookup=_NO_LIMIT,
    )
