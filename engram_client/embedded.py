"""Rows straight from a data root of this host, without a server: file:///ROOT."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
import weakref
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

_ERROR_OF: Final[dict[type[Exception], type[errors.EngramError]]] = {
    storage.InvalidTableName: errors.InvalidTableName,
    storage.TableNotFound: errors.TableNotFound,
    storage.VersionNotFound: errors.VersionNotFound,
    storage.TableDamaged: errors.TableDamaged,
    storage.RootNotFound: errors.Unavailable,
    storage.StorageFailure: errors.Unavailable,
    # A store that is closed says so before it asks; so the files were found to have changed during the fetch.
    storage.BackendClosed: errors.TableDamaged,
    OSError: errors.Unavailable,
}
_Result = TypeVar("_Result")
_SECONDS_BETWEEN_LOOKS: Final = 1.0  # at the files of a table, and at what of it lies in RAM
# The kernel takes up to 26 ms a GiB to say what lies in RAM, and a table may have hundreds.
_SECONDS_ON_RESIDENCY_AT_OPEN: Final = 0.1
_SECONDS_ON_RESIDENCY: Final = 0.02
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
        self._versions: dict[tuple[str, str], _OpenVersion] = {}
        self._changing_versions = threading.Lock()
        self._resident_set = storage.ResidentSet()
        self._refreshing: asyncio.Task[None] | None = None
        self._closed = False

    async def list_tables(self, timeout: float) -> list[TableInfo]:
        """Describe the current version of every table, ordered by name; what is damaged is left out."""
        return await self._in_thread(self._list_tables, timeout)

    async def get_table(self, name: str, version: str, timeout: float) -> TableInfo:
        """Describe one version of a table; "" is the current one. Opens its files."""
        return await self._in_thread(lambda: self._open_table(name, version), timeout)

    async def fetch(self, table: TableInfo, rows: Int64Array, out: Uint8Array, timeout: float) -> None:
        """Put `rows` (n,) into `out` (n, row_bytes)."""
        self._check_open()
        version = self._versions[table.name, table.version]
        if version.has_to_be_looked_at(self._clock()):
            await self._in_thread(lambda: self._look_at(version), timeout)
        self._refresh_residency_of(version)
        with _client_errors():
            backend = version.backend()
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
        for version in list(self._versions.values()):
            version.close()
        if self._refreshing is not None:
            await asyncio.wait((self._refreshing,), timeout=_SECONDS_BETWEEN_LOOKS)

    def _list_tables(self) -> list[TableInfo]:
        root = self._open_root(self._path)
        described = (_current_version(root, name) for name in root.table_names())
        return [info for info in described if info is not None]

    def _open_table(self, name: str, version: str) -> TableInfo:
        root = self._open_root(self._path)
        manifest = root.manifest(name, version or root.current_version(name))
        with self._changing_versions:
            info = self._known_or_new(root, name, manifest)
            opened = self._versions[name, manifest.version]
        self._look_at(opened)
        return info

    def _known_or_new(self, root: storage.DataRoot, name: str, manifest: storage.Manifest) -> TableInfo:
        self._versions = {key: version for key, version in self._versions.items() if not version.is_closed}
        known = self._versions.get((name, manifest.version))
        info = known.info() if known is not None else None
        if info is None:
            info = _described(name, manifest)
            self._versions[name, manifest.version] = _OpenVersion(root, info, manifest, self._resident_set)
        return info

    def _look_at(self, version: _OpenVersion) -> None:
        version.look(self._clock())
        if self._closed:  # meanwhile: then what was just opened is closed by us
            version.close()
            self._check_open()

    def _refresh_residency_of(self, version: _OpenVersion) -> None:
        """Have a thread ask the kernel what lies in RAM, now and then, while fetches go on."""
        if (self._refreshing is None or self._refreshing.done()) and version.residency_is_old(self._clock()):
            self._refreshing = asyncio.create_task(_refresh_residency(version))

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


class _OpenVersion:
    """A version whose files are open until its description `info` is no longer held by anybody.

    Those of an attached checkpoint are not ours: anybody may change them, so they are looked at again and again.
    """

    def __init__(
        self, root: storage.DataRoot, info: TableInfo, manifest: storage.Manifest, resident_set: storage.ResidentSet
    ) -> None:
        self.info = weakref.ref(info)
        self.is_closed = False
        self._root = root
        self._table = info.name
        self._manifest = manifest
        self._resident_set = resident_set
        self._looking = threading.Lock()
        self._backend: storage.Backend | None = None
        self._looked_at = self._residency_looked_at = -math.inf
        weakref.finalize(info, self.close).atexit = False

    def has_to_be_looked_at(self, now: float) -> bool:
        """Tell whether `look` has something to do: it takes a thread."""
        return self._backend is None or (self._manifest.is_attached and now - self._looked_at >= _SECONDS_BETWEEN_LOOKS)

    def look(self, now: float) -> None:
        """Open the files if they are not, or see that they are still what was opened. Raises StorageError."""
        with self._looking:
            if self._backend is None:
                self._open(now)
            elif self.has_to_be_looked_at(now):  # else another thread has just looked
                self._check_files()
                self._looked_at = now

    def backend(self) -> storage.Backend:
        """Return the open files; raises BackendClosed."""
        if self._backend is None:
            raise storage.BackendClosed(self._table, self._manifest.version)
        return self._backend

    def residency_is_old(self, now: float) -> bool:
        """Tell, once, that it is time to ask again what lies in RAM."""
        if now - self._residency_looked_at < _SECONDS_BETWEEN_LOOKS:
            return False
        self._residency_looked_at = now
        return True

    def close(self) -> None:
        """Let go of the files, for good."""
        self.is_closed = True
        self._let_go()

    def _open(self, now: float) -> None:
        backend = self._root.open_backend(self._table, self._manifest.version, resident_set=self._resident_set)
        backend.refresh_residency(time.monotonic() + _SECONDS_ON_RESIDENCY_AT_OPEN)
        self._backend = backend
        self._looked_at = self._residency_looked_at = now

    def _check_files(self) -> None:
        try:
            self._root.check_files(self._table, self._manifest)
        except storage.FilesChanged:
            self._let_go()  # if they come back, they are opened anew
            raise
        except storage.StorageError:
            return  # cannot be looked at just now; what is mapped is still there

    def _let_go(self) -> None:
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()


async def _refresh_residency(version: _OpenVersion) -> None:
    with contextlib.suppress(storage.StorageError, OSError):  # then what was known before has to do
        await asyncio.to_thread(version.backend().refresh_residency, time.monotonic() + _SECONDS_ON_RESIDENCY)


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


@contextlib.contextmanager
def _client_errors() -> Iterator[None]:
    try:
        yield
    except errors.EngramError:
        raise
    except (storage.StorageError, OSError) as error:
        kind = next((ours for theirs, ours in _ERROR_OF.items() if isinstance(error, theirs)), errors.EngramError)
        raise kind(str(error)) from error
