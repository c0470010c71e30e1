"""How rows lie in one range of bytes, and the quickest NumPy gather for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from store_server.storage.manifest import Manifest

# A gather by address goes through a temporary array; pieces of this size stay in the processor's cache.
_PIECE_BYTES = 128 << 10


class RowLayout(Protocol):
    """Rows that can be gathered."""

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Copy `rows` (n,) into `out` (n, row_bytes); see Backend.gather."""
        ...


def row_layout(data: NDArray[np.uint8], offsets: NDArray[np.int64], manifest: Manifest) -> RowLayout:
    """Return the quickest layout for blocks that begin at `offsets` (num_blocks,) of `data`, a flat uint8 array."""
    row_bytes, block_rows = manifest.row_bytes, manifest.block_rows
    first = int(offsets[0]) % row_bytes
    whole_rows, remainder = np.divmod(offsets - first, row_bytes)
    if remainder.any():
        return RowsByAddress(data, offsets, row_bytes=row_bytes, block_rows=block_rows)
    table = data[first : first + (data.size - first) // row_bytes * row_bytes].reshape(-1, row_bytes)
    shifts = whole_rows - np.arange(len(offsets)) * block_rows
    if not (shifts - shifts[0]).any():
        return FlatRows(table[shifts[0] :])
    return ShiftedRows(table, shifts, block_rows=block_rows)


class FlatRows:
    """Rows one behind the other: `take`, the quickest gather there is."""

    def __init__(self, table: NDArray[np.uint8]) -> None:
        """`table` (num_rows, row_bytes) uint8, C-contiguous."""
        self._table = table

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """See Backend.gather."""
        # "clip" writes straight into `out`; it would also hide a bad row, which is why the caller checks.
        np.take(self._table, rows, axis=0, out=out, mode="clip")


class ShiftedRows:
    """Blocks anywhere, but a whole number of rows apart: one flat table in which each block is shifted."""

    def __init__(self, table: NDArray[np.uint8], shifts: NDArray[np.int64], *, block_rows: int) -> None:
        """`shifts` (num_blocks,): what to add to a row of that block to find it in `table`."""
        self._table, self._shifts, self._block_rows = table, shifts, block_rows

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """See Backend.gather."""
        places = self._shifts.take(rows // self._block_rows)
        places += rows
        np.take(self._table, places, axis=0, out=out, mode="clip")


class RowsByAddress:
    """Blocks anywhere: a view of the data as row-wide items at steps of one byte, indexed by address."""

    def __init__(self, data: NDArray[np.uint8], offsets: NDArray[np.int64], *, row_bytes: int, block_rows: int) -> None:
        """`offsets` (num_blocks,): the byte of `data` at which each block begins."""
        self._window = np.ndarray((data.size - row_bytes + 1,), f"V{row_bytes}", buffer=data, strides=(1,))
        self._shifts = offsets - np.arange(len(offsets)) * (block_rows * row_bytes)
        self._row_bytes, self._block_rows = row_bytes, block_rows

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """See Backend.gather."""
        addresses = self._shifts.take(rows // self._block_rows)
        addresses += rows * self._row_bytes
        items = out.view(self._window.dtype)[:, 0]  # (n,), one item a row
        step = max(1, _PIECE_BYTES // self._row_bytes)
        for start in range(0, len(addresses), step):
            items[start : start + step] = self._window[addresses[start : start + step]]
