"""Which blocks of a version are held: `held.json` beside its manifest.

A version without the file is held as a whole. Once it has one it keeps it, also when all blocks are held again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np

from store_server.storage.errors import StorageFailure, TableDamaged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from store_server.storage.manifest import Manifest
    from store_server.storage.stored_version import StoredVersion

HELD: Final = "held.json"
HELD_FORMAT: Final = 1
BlockRanges: TypeAlias = "Iterable[tuple[int, int]]"
"""Half-open: (first, end) blocks."""


def held_blocks(stored: StoredVersion) -> NDArray[np.bool_]:
    """Return which blocks of a version are held now, (num_blocks,).

    Raises TableDamaged, and StorageFailure for a version that was removed, too.
    """
    path = stored.directory / HELD
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        if not stored.directory.is_dir():  # else what was removed just now would be held as a whole
            raise StorageFailure(stored.directory, f"version {stored.version} was removed") from error
        return np.ones(stored.manifest.num_blocks, np.bool_)
    except OSError as error:
        raise StorageFailure(path, error.strerror or str(error)) from error
    return parse_held(stored, data)


def is_published_whole(stored: StoredVersion) -> bool:
    """Tell whether a version was published here and has never lacked a block; False for whatever was copied."""
    return not (stored.directory / HELD).exists()


def parse_held(stored: StoredVersion, data: bytes) -> NDArray[np.bool_]:
    """Return what the content of a held.json says, (num_blocks,); raises TableDamaged when it says nothing sound."""
    try:
        num_blocks = stored.manifest.num_blocks
        return blocks_of(held_content(data, num_blocks).ranges, num_blocks)
    except (ValueError, RecursionError) as error:
        detail = f"does not say which blocks are held: {error}"
        raise TableDamaged(stored.table, stored.version, stored.directory / HELD, detail) from error


class HeldContent(NamedTuple):
    """What a held.json says. `removals`: how often blocks were taken away, so that who looks twice knows of it."""

    ranges: list[tuple[int, int]]
    removals: int


def held_content(data: bytes, num_blocks: int) -> HeldContent:
    """Return what the content of a held.json says; raises ValueError for anything else."""
    content = json.loads(data)
    if (
        not isinstance(content, dict)
        or content.get("format") != HELD_FORMAT
        or not isinstance(content.get("blocks"), list)
    ):
        raise ValueError(f"must be an object of format {HELD_FORMAT} with a list of blocks, got {content!r:.200}")
    ranges: list[tuple[int, int]] = []
    for found in content["blocks"]:
        if not isinstance(found, list) or [type(border) for border in found] != [int, int]:
            raise ValueError(f"a range must be two whole numbers, got {found!r:.200}")
        ranges.append((found[0], found[1]))
    removals = content.get("removals", 0)
    if type(removals) is not int:
        raise ValueError(f"removals must be a whole number, got {removals!r:.200}")
    return HeldContent(ranges_of(blocks_of(ranges, num_blocks)), removals)


def held_json(is_held: NDArray[np.bool_], removals: int = 0) -> bytes:
    """Return the content of held.json for blocks (num_blocks,)."""
    return json.dumps({"format": HELD_FORMAT, "blocks": ranges_of(is_held), "removals": removals}).encode() + b"\n"


def held_bytes(manifest: Manifest, is_held: NDArray[np.bool_]) -> int:
    """Return how many bytes of rows lie in those blocks (num_blocks,) that are True."""
    num_rows = int(is_held.sum()) * manifest.block_rows
    if is_held[-1]:
        num_rows -= manifest.block_rows - manifest.rows_in_block(manifest.num_blocks - 1)
    return num_rows * manifest.row_bytes


def ranges_of(blocks: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the ranges of blocks that are True, in order."""
    borders = np.flatnonzero(np.diff(blocks, prepend=False, append=False)).tolist()
    return list(zip(borders[::2], borders[1::2], strict=True))


def runs_of(blocks: NDArray[np.bool_], manifest: Manifest, most_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield the same ranges, cut so that no more than `most_bytes` lie in one, and at least a block."""
    most = max(1, most_bytes // (manifest.block_rows * manifest.row_bytes))
    for first, end in ranges_of(blocks):
        for begin in range(first, end, most):
            yield begin, min(end, begin + most)


def blocks_of(ranges: BlockRanges, num_blocks: int) -> NDArray[np.bool_]:
    """Return which blocks lie in `ranges`, (num_blocks,); raises ValueError for a range outside, or empty."""
    blocks = np.zeros(num_blocks, np.bool_)
    for first, end in ranges:
        if not 0 <= first < end <= num_blocks:
            raise ValueError(f"blocks must lie in 0 to {num_blocks} and be at least one, got {first} to {end}")
        blocks[first:end] = True
    return blocks
