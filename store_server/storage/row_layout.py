"""How rows lie in one range of bytes, and the quickest NumPy gather for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from store_server.storage.manifest import Manifest

# A gather by address goes through a temporary array; pieces of this size stay in the processor's cache.
_PIECE_BYTES = 128 << 10


class RowLayout(Protocol):
    """Rows that can be gathered, each in one piece or in a piece a map.

    `piece_bytes`: how wide the pieces are, one number a map.
    """

    piece_bytes: tuple[int, ...]

    def places(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
        """Return for each map the bytes in it at which the pieces of `rows` begin, (n,)."""
        ...

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
        return FlatRows(table[shifts[0] :], first_byte=int(offsets[0]))
    return ShiftedRows(table, shifts, first_byte=first, block_rows=block_rows)


class FlatRows:
    """Rows one behind the other: `take`, the quickest gather there is."""

    def __init__(self, table: NDArray[np.uint8], *, first_byte: int = 0) -> None:
        """`table` (num_rows, row_bytes) uint8, C-contiguous; `first_byte`: where in its map it begins."""
        self.piece_bytes: tuple[int, ...] = (table.shape[1],)
        self._table, self._first_byte = table, first_byte

    def places(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
        """See RowLayout.places."""
        places = rows * self.piece_bytes[0]
        places += self._first_byte
        return (places,)

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """See Backend.gather."""
        # "clip" writes straight into `out`; it would also hide a bad row, which is why the caller checks.
        self._table.take(rows, axis=0, out=out, mode="clip")


class ShiftedRows:
    """Blocks anywhere, but a whole number of rows apart: one flat table in which each block is shifted."""

    def __init__(
        self, table: NDArray[np.uint8], shifts: NDArray[np.int64], *, first_byte: int, block_rows: int
    ) -> None:
        """`shifts` (num_blocks,): what to add to a row of that block to find it in `table`."""
        self.piece_bytes: tuple[int, ...] = (table.shape[1],)
        self._table, self._shifts, self._first_byte, self._block_rows = table, shifts, first_byte, block_rows

    def places(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
        """See RowLayout.places."""
        places = self._rows_of_table(rows)
        places *= self.piece_bytes[0]
        places += self._first_byte
        return (places,)

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """See Backend.gather."""
        self._table.take(self._rows_of_table(rows), axis=0, out=out, mode="clip")

    def _rows_of_table(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        numbers = self._shifts.take(rows // self._block_rows)
        numbers += rows
        return numbers


class SegmentedRows:
    """The columns of a row in several tables: each is gathered into its part of the row."""

    def __init__(self, tables: Sequence[NDArray[np.uint8]], first_bytes: Sequence[int]) -> None:
        """`tables`: (num_rows, its columns) uint8 each, C-contiguous, in the order of their columns.

        `first_bytes`: where in its map each begins.
        """
        self.piece_bytes = tuple(table.shape[1] for table in tables)
        self._first_bytes = tuple(first_bytes)
        # One item a row: `take` copies it in one piece, and an assignment puts it into a part of a wider row.
        self._columns = [table.view(f"V{table.shape[1]}")[:, 0] for table in tables]

    def places(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
        """See RowLayout.places."""
        return tuple(rows * width + first for width, first in zip(self.piece_bytes, self._first_bytes, strict=True))

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """See Backend.gather."""
        start = 0
        for items in self._columns:
            end = start + items.itemsize
            self._gather_part(items, rows, out[:, start:end].view(items.dtype)[:, 0])
            start = end

    def _gather_part(self, items: NDArray[np.void], rows: NDArray[np.int64], part: NDArray[np.void]) -> None:
        step = max(1, _PIECE_BYTES // items.itemsize)
        for start in range(0, len(rows), step):
            part[start : start + step] = items.take(rows[start : start + step], mode="clip")


class RowsByAddress:
    """Blocks anywhere: a view of the data as row-wide items at steps of one byte, indexed by address."""

    def __init__(self, data: NDArray[np.uint8], offsets: NDArray[np.int64], *, row_bytes: int, block_rows: int) -> None:
        """`offsets` (num_blocks,): the byte of `data` at which each block begins."""
        self._window = np.ndarray((data.size - row_bytes + 1,), f"V{row_bytes}", buffer=data, strides=(1,))
        self._shifts = offsets - np.arange(len(offsets)) * (block_rows * row_bytes)
        self.piece_bytes: tuple[int, ...] = (row_bytes,)
        self._row_bytes, self._block_rows = row_bytes, block_rows

    def places(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
        """See RowLayout.places."""
        addresses = self._shifts.take(rows // self._block_rows)
        addresses += rows * self._row_bytes
        return (addresses,)

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """See Backend.gather."""
        (addresses,) = self.places(rows)
        items = out.view(self._window.dtype)[:, 0]  # (n,), one item a row
        step = max(1, _PIECE_BYTES // self._row_bytes)
        for start in range(0, len(addresses), step):
            items[start : start + step] = self._window[addresses[start : start + step]]
