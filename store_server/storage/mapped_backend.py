"""Rows read in place from a file map: the backends `mmap` and `lmdb`, which differ in where the blocks lie."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

import numpy as np

from store_server.storage.block_file import BlockFile
from store_server.storage.errors import BackendClosed, StorageFailure
from store_server.storage.residency import all_pages_resident, may_ask_for_residency
from store_server.storage.row_layout import row_layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from store_server.storage.row_layout import RowLayout
    from store_server.storage.stored_version import StoredVersion


class MappedBackend:
    """A version mapped read-only. Pages come from the disk when first touched, and may be dropped again.

    `resident` is False until `refresh_residency` has seen every page in RAM, and stays False where the kernel would not
    tell (see residency.may_ask_for_residency).
    """

    def __init__(self, stored: StoredVersion, offsets: NDArray[np.int64]) -> None:
        """Map the data file, whose size the caller has checked.

        `offsets` (num_blocks,) int64: the byte in the file at which each block begins. Raises StorageFailure.
        """
        self._stored = stored
        self.num_rows = stored.manifest.num_rows
        self.row_bytes = stored.manifest.row_bytes
        self.kind = stored.manifest.backend
        self.resident = False
        self._file = BlockFile(stored, offsets)
        self._may_ask = may_ask_for_residency(self._file.fileno())
        # Whoever holds the array holds the map: a gather that runs while another thread closes keeps its memory.
        try:
            self._data: NDArray[np.uint8] | None = self._map()
        except StorageFailure:
            self._file.close()
            raise
        self._rows: RowLayout | None = row_layout(self._data, offsets, stored.manifest)

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """See Backend.gather."""
        layout = self._rows
        if layout is None:
            raise BackendClosed(self._stored.table, self._stored.version)
        layout.gather(rows, out)

    def blocks(self) -> Iterator[NDArray[np.uint8]]:
        """See Backend.blocks."""
        return self._file.blocks()

    def refresh_residency(self) -> None:
        """See Backend.refresh_residency."""
        data = self._data
        self.resident = data is not None and self._may_ask and all_pages_resident(data)

    def close(self) -> None:
        """See Backend.close."""
        self._data = self._rows = None
        self.resident = False
        self._file.close()

    def _map(self) -> NDArray[np.uint8]:
        try:
            mapped = mmap.mmap(self._file.fileno(), self._stored.manifest.data_bytes, prot=mmap.PROT_READ)
        except (OSError, ValueError) as error:
            raise StorageFailure(self._stored.data_path, f"cannot be mapped: {error}") from error
        mapped.madvise(mmap.MADV_RANDOM)  # read-ahead around a row fetches pages that nobody asked for
        return np.frombuffer(mapped, np.uint8)
