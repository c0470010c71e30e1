"""Rows loaded into RAM: the backend `memory`."""

from __future__ import annotations

import logging
import mmap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from store_server.storage.errors import BackendClosed, LoadingStopped, NotEnoughMemory
from store_server.storage.row_layout import FlatRows

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from store_server.storage.files.version_files import VersionFiles
    from store_server.storage.stored_version import StoredVersion

_log = logging.getLogger(__name__)
_HUGE_PAGE_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


class MemoryBackend:
    """A version held in anonymous memory; the files it was loaded from are no longer needed.

    `huge_pages` says whether the kernel accepted the wish for huge pages.
    """

    kind = "memory"

    def __init__(
        self,
        stored: StoredVersion,
        files: VersionFiles,
        *,
        huge_pages: bool = False,
        stop: threading.Event | None = None,
    ) -> None:
        """Load all blocks, their digests checked; `stop` is looked at before each.

        Raises TableDamaged, StorageFailure, NotEnoughMemory, LoadingStopped.
        """
        manifest = stored.manifest
        self._stored = stored
        self.num_rows = manifest.num_rows
        self.row_bytes = manifest.row_bytes
        memory = _reserve(stored.table, manifest.num_bytes)
        self.huge_pages = huge_pages and _ask_for_huge_pages(stored.table, memory)
        table = np.frombuffer(memory, np.uint8).reshape(manifest.num_rows, manifest.row_bytes)
        for block in range(manifest.num_blocks):
            if stop is not None and stop.is_set():
                raise LoadingStopped(stored.table)
            first_row = block * manifest.block_rows
            files.read_checked_into(block, table[first_row : first_row + manifest.block_rows])
        table.flags.writeable = False
        self._table: NDArray[np.uint8] | None = table

    @property
    def resident(self) -> bool:
        """True while open: there is no disk behind the rows."""
        return self._table is not None

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """See Backend.gather."""
        FlatRows(self._open_table()).gather(rows, out)

    def gather_from_ram(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> bool:
        """See Backend.gather_from_ram."""
        self.gather(rows, out)
        return True

    def blocks(self) -> Iterator[NDArray[np.uint8]]:
        """See Backend.blocks. The arrays are read-only views."""
        table, block_rows = self._open_table(), self._stored.manifest.block_rows
        return (table[first : first + block_rows] for first in range(0, self.num_rows, block_rows))

    def refresh_residency(self, deadline: float | None = None) -> bool:  # noqa: ARG002
        """Return True: the answer never changes."""
        return True

    def close(self) -> None:
        """See Backend.close."""
        self._table = None

    def _open_table(self) -> NDArray[np.uint8]:
        table = self._table
        if table is None:
            raise BackendClosed(self._stored.table, self._stored.version)
        return table


def _reserve(table: str, num_bytes: int) -> mmap.mmap:
    try:
        return mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError) as error:
        raise NotEnoughMemory(table, num_bytes, str(error)) from error


def _ask_for_huge_pages(table: str, memory: mmap.mmap) -> bool:
    """Return whether the kernel took the wish; a node without huge pages serves all the same, and says so."""
    try:
        memory.madvise(mmap.MADV_HUGEPAGE)
        setting = _HUGE_PAGE_SETTING.read_text()
    except OSError as error:
        _log.warning("no huge pages for table %s: %s", table, error)
        return False
    if "[never]" in setting:
        _log.warning("no huge pages for table %s: %s is set to never", table, _HUGE_PAGE_SETTING)
        return False
    return True
