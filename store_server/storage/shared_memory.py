"""Rows loaded into RAM once for several processes: an anonymous file that one fills, seals, and all map read-only."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from store_server.storage.errors import LoadingStopped, NotEnoughMemory
from store_server.storage.pages.advice import POPULATE_READ, POPULATE_WRITE, advise, can_populate
from store_server.storage.row_memory import LoadedRows, as_table, ask_for_huge_pages, reserve

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from store_server.storage.stored_version import StoredVersion

_HUGE_PAGE_SETTING: Final = Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
_LOOK_SECONDS: Final = 0.05  # how often it is asked whether another process has ended loading
_PAGES_AT_ONCE_BYTES: Final = 256 << 20
# Nobody may map the file for writing or write to it from now on (Linux 5.1), or change its size or these rules. Unlike
# F_SEAL_WRITE it is not refused while a map for writing is left from somebody who failed to load.
_F_SEAL_FUTURE_WRITE: Final = 0x10
_SEALS: Final = _F_SEAL_FUTURE_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class FileKeeper(Protocol):
    """Keeps an anonymous file for each version that somebody holds."""

    def file(self, table: str, version: str) -> int:
        """Return a descriptor of the version's file, empty at first, which the caller closes. Raises OSError."""
        ...

    def let_go(self, table: str, version: str) -> None:
        """Say that the file is not wanted here any more."""
        ...


class SharedMemory:
    """One copy of each version for all processes that ask the same keeper.

    Whoever comes first loads, holding a lock that goes with its process; the others wait. A file that is sealed is
    complete: what a process left that ended while it loaded is loaded anew.
    """

    def __init__(self, keeper: FileKeeper, huge_page_setting: Path = _HUGE_PAGE_SETTING) -> None:
        self._keeper = keeper
        self._huge_page_setting = huge_page_setting

    def loaded(
        self,
        stored: StoredVersion,
        load: Callable[[NDArray[np.uint8]], None],
        *,
        huge_pages: bool,
        stop: threading.Event,
    ) -> LoadedRows:
        """See RowMemory.loaded."""
        let_go = functools.partial(self._keeper.let_go, stored.table, stored.version)
        file = self._open(stored)
        try:
            with _locked(file, stored.table, stop):
                if not _is_sealed(file):
                    _fill(file, stored, load, huge_pages=huge_pages, stop=stop)
                    fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
            memory = _mapped_for_reading(file, stored)
            # All processes say what became of it, and not only the one that loaded: each has a map of its own.
            is_wished = huge_pages and ask_for_huge_pages(stored.table, memory, self._huge_page_setting)
            table = as_table(memory, stored)
            _touch(table, POPULATE_READ, stored.table, stop)
            return LoadedRows(table, is_wished, let_go)
        except OSError as error:
            let_go()
            raise NotEnoughMemory(stored.table, stored.manifest.num_bytes, f"cannot be shared: {error}") from error
        except BaseException:
            let_go()
            raise
        finally:
            os.close(file)

    def _open(self, stored: StoredVersion) -> int:
        """Open the file anew: a lock belongs to an opening, and that of the keeper's descriptor is everybody's."""
        try:
            given = self._keeper.file(stored.table, stored.version)
            try:
                return os.open(f"/proc/self/fd/{given}", os.O_RDWR | os.O_CLOEXEC)
            finally:
                os.close(given)
        except OSError as error:
            raise NotEnoughMemory(stored.table, stored.manifest.num_bytes, f"no memory to share: {error}") from error


@contextlib.contextmanager
def _locked(file: int, table: str, stop: threading.Event) -> Iterator[None]:
    """Wait for as long as another process loads."""
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if stop.wait(_LOOK_SECONDS):
                raise LoadingStopped(table) from None
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _is_sealed(file: int) -> bool:
    return bool(fcntl.fcntl(file, fcntl.F_GET_SEALS) & _F_SEAL_FUTURE_WRITE)


def _fill(
    file: int,
    stored: StoredVersion,
    load: Callable[[NDArray[np.uint8]], None],
    *,
    huge_pages: bool,
    stop: threading.Event,
) -> None:
    """Put all rows into the file."""
    reserve(stored).close()  # the kernel sees at once whether a table is larger than RAM, but not for such a file
    os.ftruncate(file, stored.manifest.num_bytes)
    memory = mmap.mmap(file, stored.manifest.num_bytes, flags=mmap.MAP_SHARED)
    if huge_pages:
        with contextlib.suppress(OSError):  # the map for reading is asked for them too, and says why there are none
            memory.madvise(mmap.MADV_HUGEPAGE)
    table = as_table(memory, stored)
    _touch(table, POPULATE_WRITE, stored.table, stop)
    load(table)


def _mapped_for_reading(file: int, stored: StoredVersion) -> mmap.mmap:
    reading = os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return mmap.mmap(reading, stored.manifest.num_bytes, prot=mmap.PROT_READ)
    finally:
        os.close(reading)


def _touch(table: NDArray[np.uint8], advice: int, name: str, stop: threading.Event) -> None:
    """Map all pages now: lookups need not, and memory that is not there is an error where it would be a SIGBUS."""
    if not can_populate():
        return
    for start in range(0, table.nbytes, _PAGES_AT_ONCE_BYTES):
        if stop.is_set():
            raise LoadingStopped(name)
        size = min(_PAGES_AT_ONCE_BYTES, table.nbytes - start)
        advise(np.array([[table.ctypes.data + start, size]], np.uint64), advice)
