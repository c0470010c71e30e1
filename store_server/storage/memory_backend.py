"""Rows loaded into RAM: the backend `memory`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from store_server.storage.errors import BackendClosed, LoadingStopped, VersionUnavailable
from store_server.storage.held_blocks import held_blocks
from store_server.storage.row_layout import FlatRows
from store_server.storage.row_memory import LoadedRows, PrivateMemory

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from store_server.storage.files.version_files import VersionFiles
    from store_server.storage.row_memory import RowMemory
    from store_server.storage.stored_version import StoredVersion


class MemoryBackend:
    """A version held in memory; the files it was loaded from are no longer needed.

    `huge_pages_wished` says whether the kernel took the wish for huge pages.
    """

    kind = "memory"

    def __init__(
        self,
        stored: StoredVersion,
        files: VersionFiles,
        *,
        memory: RowMemory | None = None,
        huge_pages: bool = False,
        stop: threading.Event | None = None,
    ) -> None:
        """Load all blocks into `memory`, by default this process's own, their digests checked.

        `stop` is looked at before each block. Raises TableDamaged, StorageFailure, NotEnoughMemory, LoadingStopped,
        and VersionUnavailable for a version that is held in part.
        """
        _require_whole(stored)
        self._stored = stored
        self.num_rows = stored.manifest.num_rows
        self.row_bytes = stored.manifest.row_bytes
        stop = stop or threading.Event()

        def load(table: NDArray[np.uint8]) -> None:
            block_rows = stored.manifest.block_rows
            for block in range(stored.manifest.num_blocks):
                if stop.is_set():
                    raise LoadingStopped(stored.table)
                files.read_checked_into(block, table[block * block_rows : (block + 1) * block_rows])

        loaded = (memory or PrivateMemory()).loaded(stored, load, huge_pages=huge_pages, stop=stop)
        self.huge_pages_wished = loaded.huge_pages_wished
        self._loaded: LoadedRows | None = loaded

    @property
    def resident(self) -> bool:
        """True while open: there is no disk behind the rows."""
        return self._loaded is not None

    @property
    def resident_bytes(self) -> int:
        """All bytes of the rows, while open."""
        return self.num_rows * self.row_bytes if self.resident else 0

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
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.let_go()

    def _open_table(self) -> NDArray[np.uint8]:
        loaded = self._loaded
        if loaded is None:
            raise BackendClosed(self._stored.table, self._stored.version)
        return loaded.table


def _require_whole(stored: StoredVersion) -> None:
    """Refuse parts: what is loaded is sealed, perhaps shared with other processes, and blocks come and go."""
    is_held = held_blocks(stored)
    if not is_held.all():
        raise VersionUnavailable(
            stored.table,
            stored.version,
            f"{is_held.sum():,} of {len(is_held):,} blocks are held, and only a whole version is loaded into memory; "
            "serve it without --in-memory",
        )
