"""Blocks that a patch replaced: which they are, and how they lie in a file beside the one that holds all the others.

`changed.bin` has them one behind the other, in the order of their numbers. Some bytes may lie before the first: they
put the rows of both files, mapped one file behind the other, a whole number of rows apart (see row_layout.ShiftedRows).
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from store_server.storage.errors import InvalidTableSpec
from store_server.storage.held_blocks import blocks_of, ranges_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from store_server.storage.manifest import Manifest

CHANGED: Final = "changed.bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedBlocks:
    """`ranges`: half-open, in order, as held_blocks.ranges_of gives them. `file_bytes`: the size of changed.bin."""

    ranges: tuple[tuple[int, int], ...]
    file_bytes: int

    def are_changed(self, num_blocks: int) -> NDArray[np.bool_]:
        """Return which blocks lie in changed.bin, (num_blocks,); raises ValueError for one that there is not."""
        return blocks_of(self.ranges, num_blocks)

    def offsets(self, manifest: Manifest) -> NDArray[np.int64]:
        """Return where in changed.bin each of them begins, int64 (as many as are changed,)."""
        block_bytes = manifest.block_rows * manifest.row_bytes
        num_changed = sum(end - first for first, end in self.ranges)
        return self._lead_bytes(manifest) + np.arange(num_changed, dtype=np.int64) * block_bytes

    def check(self, manifest: Manifest) -> None:
        """Raise InvalidTableSpec unless these can be blocks of a version."""
        try:
            are_changed = self.are_changed(manifest.num_blocks)
        except ValueError as error:
            raise InvalidTableSpec(f"changed blocks: {error}") from error
        if not self.ranges or tuple(ranges_of(are_changed)) != self.ranges:
            raise InvalidTableSpec(f"changed blocks must be ranges in order, apart from each other, got {self.ranges}")
        lead_bytes = self._lead_bytes(manifest)
        if not 0 <= lead_bytes < manifest.row_bytes:
            least = self.file_bytes - lead_bytes
            raise InvalidTableSpec(
                f"the file of changed blocks must have {least} to {least + manifest.row_bytes - 1} bytes, "
                f"got {self.file_bytes}"
            )

    def fields(self) -> dict[str, Any]:
        """Return what is written into a manifest."""
        return {"ranges": [list(border) for border in self.ranges], "file_bytes": self.file_bytes}

    @classmethod
    def from_fields(cls, fields: object) -> ChangedBlocks:
        """Return what `fields` gave, as read from JSON; raises InvalidTableSpec."""
        if isinstance(fields, dict) and set(fields) == {"ranges", "file_bytes"} and type(fields["file_bytes"]) is int:
            ranges = fields["ranges"]
            if isinstance(ranges, list) and all(_is_range(item) for item in ranges):
                return cls(ranges=tuple((first, end) for first, end in ranges), file_bytes=fields["file_bytes"])
        raise InvalidTableSpec(f"changed must have file_bytes and ranges of two whole numbers, got {fields!r:.300}")

    def _lead_bytes(self, manifest: Manifest) -> int:
        num_rows = sum(end - first for first, end in self.ranges) * manifest.block_rows
        last = manifest.num_blocks - 1
        if self.ranges[-1][1] == manifest.num_blocks:
            num_rows -= manifest.block_rows - manifest.rows_in_block(last)
        return self.file_bytes - num_rows * manifest.row_bytes


def bytes_before_changed(manifest: Manifest, *, first_offset: int) -> int:
    """Return how far into changed.bin its blocks begin, so that all rows lie a whole number of rows apart.

    `first_offset` is where the first block of the data file begins, of as many bytes as `manifest` says.
    """
    begin = -(-manifest.data_bytes // mmap.PAGESIZE) * mmap.PAGESIZE  # where the file is mapped: see JoinedMap
    return (first_offset - begin) % manifest.row_bytes


def _is_range(item: object) -> bool:
    return isinstance(item, list) and [type(border) for border in item] == [int, int]
