"""Rows that are to take the place of others of a version, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from store_server.storage.errors import InvalidPatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from store_server.storage.manifest import Manifest


@dataclass(frozen=True, slots=True)
class RowPatch:
    """`rows` (n, row_bytes) uint8 for the row numbers `ids` (n,) int64, which rise. Made by `row_patch`."""

    ids: NDArray[np.int64]
    rows: NDArray[np.uint8]

    def replace_in(self, block: NDArray[np.uint8], first_row: int) -> int:
        """Put into `block` (m, row_bytes), which begins with row `first_row`, what belongs there.

        Returns how many rows were other ones before.
        """
        start, end = np.searchsorted(self.ids, (first_row, first_row + len(block))).tolist()
        places, rows = self.ids[start:end] - first_row, self.rows[start:end]
        num_changed = int((block[places] != rows).any(axis=1).sum())
        block[places] = rows
        return num_changed

    def blocks(self, block_rows: int) -> NDArray[np.int64]:
        """Return the blocks that hold any of the rows, in order."""
        return np.unique(self.ids // block_rows)


def check_ids(ids: NDArray[np.integer[Any]], num_rows: int) -> None:
    """Raise InvalidPatch unless `ids` is a list of different rows of a table with `num_rows`."""
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or not ids.size:
        raise InvalidPatch(f"ids must be whole numbers (n,), at least one, got {ids.dtype} {ids.shape}")
    is_outside = (ids < 0) | (ids >= num_rows)
    if is_outside.any():
        place = int(is_outside.argmax())
        raise InvalidPatch(f"id {ids[place]} (number {place} of the ids) is no row: the table has 0 to {num_rows - 1}")
    order = np.argsort(ids, kind="stable")
    repeats = order[1:][ids[order[1:]] == ids[order[:-1]]]
    if repeats.size:
        place = int(repeats.min())
        before = int((ids == ids[place]).argmax())
        raise InvalidPatch(f"id {ids[place]} (number {place} of the ids) is there already as number {before}")


def row_patch(ids: NDArray[np.integer[Any]], rows: NDArray[np.uint8], manifest: Manifest) -> RowPatch:
    """Return a patch for a version, of `ids` (n,) in any order and `rows` (n, row_bytes). Raises InvalidPatch."""
    check_ids(ids, manifest.num_rows)
    if rows.dtype != np.uint8 or rows.shape != (len(ids), manifest.row_bytes):
        raise InvalidPatch(
            f"{len(ids):,} ids need rows uint8 ({len(ids)}, {manifest.row_bytes}), got {rows.dtype} {rows.shape}"
        )
    numbers = ids.astype(np.int64)
    order = np.argsort(numbers)
    return RowPatch(numbers[order], rows[order])
