"""Which rows differ between two versions: by the digests of their blocks where those tell, then row by row."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from store_server.storage.errors import RowsNotHeld, VersionsDiffer
from store_server.storage.files.version_files import open_files
from store_server.storage.held_blocks import held_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from store_server.storage.files.version_files import VersionFiles
    from store_server.storage.stored_version import StoredVersion


@dataclass(frozen=True, slots=True)
class ComparedRows:
    """Rows `first` to `end` - 1 of both versions were compared; `changed` (n,) int64 are the numbers of those that
    differ, in order. `were_read`: whether digests did not tell that they are equal.
    """  # noqa: D205

    first: int
    end: int
    changed: NDArray[np.int64]
    were_read: bool


def compared_rows(old: StoredVersion, new: StoredVersion) -> Iterator[ComparedRows]:
    """Yield all rows that both versions have, in order and some at a time.

    Holds one block of each. Raises VersionsDiffer for rows of another width or format, RowsNotHeld for one that would
    have to be read and is not here, BlockDamaged, TableDamaged and StorageFailure.
    """
    for what in ("row_bytes", "row_format"):
        found = getattr(old.manifest, what), getattr(new.manifest, what)
        if found[0] != found[1]:
            raise VersionsDiffer(
                f"rows of table {old.table!r} cannot be compared: {what} is {found[0]!r} in version {old.version} and "
                f"{found[1]!r} in version {new.version}"
            )
    return _compared(old, new)


def _compared(old: StoredVersion, new: StoredVersion) -> Iterator[ComparedRows]:
    none = np.empty(0, np.int64)
    with contextlib.closing(open_files(old)) as old_files, contextlib.closing(open_files(new)) as new_files:
        one, other = _OneBlock(old, old_files), _OneBlock(new, new_files)
        for first, end in _spans(old, new):
            if _have_equal_digests(old, new, first):
                yield ComparedRows(first, end, none, were_read=False)
            else:
                differs = (one.rows(first, end) != other.rows(first, end)).any(axis=1)
                yield ComparedRows(first, end, first + np.flatnonzero(differs), were_read=True)


def _spans(old: StoredVersion, new: StoredVersion) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows, each as large as lies in one block of either version."""
    first, num_rows = 0, min(old.manifest.num_rows, new.manifest.num_rows)
    while first < num_rows:
        ends = [(first // rows + 1) * rows for rows in (old.manifest.block_rows, new.manifest.block_rows)]
        end = min(*ends, num_rows)
        yield first, end
        first = end


def _have_equal_digests(old: StoredVersion, new: StoredVersion, first: int) -> bool:
    """Tell whether the digests of the blocks with row `first` say that the blocks are equal."""
    one, other = old.manifest, new.manifest
    if one.block_rows != other.block_rows or not one.block_digests or not other.block_digests:
        return False
    block = first // one.block_rows
    return one.block_digests[block] == other.block_digests[block]


class _OneBlock:
    """The rows of the block of a version that was read last."""

    def __init__(self, stored: StoredVersion, files: VersionFiles) -> None:
        self._stored, self._files = stored, files
        self._is_held = held_blocks(stored)
        self._memory = np.empty((stored.manifest.rows_in_block(0), stored.manifest.row_bytes), np.uint8)
        self._block: int | None = None

    def rows(self, first: int, end: int) -> NDArray[np.uint8]:
        """Return rows that lie in one block, (end - first, row_bytes)."""
        manifest = self._stored.manifest
        block = first // manifest.block_rows
        if block != self._block:
            if not self._is_held[block]:
                raise RowsNotHeld(self._stored.table, self._stored.version, first)
            self._block = None
            self._files.read_checked_into(block, self._memory[: manifest.rows_in_block(block)])
            self._block = block
        begin = block * manifest.block_rows
        return self._memory[first - begin : end - begin]
