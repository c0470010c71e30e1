"""Which blocks of a version are held: `held.json` beside its manifest, and what an open version knows of it.

A version without the file is held as a whole. Once it has one it keeps it, also when all blocks are held again.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from store_server.storage.errors import RowsNotHeld, StorageFailure, TableDamaged

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from store_server.storage.manifest import Manifest
    from store_server.storage.stored_version import StoredVersion

HELD: Final = "held.json"
_FORMAT: Final = 1
Identity: TypeAlias = tuple[int, int, int]
BlockRanges: TypeAlias = "Iterable[tuple[int, int]]"
"""Half-open: (first, end) blocks."""


class HeldBlocks:
    """Which blocks of an open version are held now, also when another process changes that.

    Each question costs a look at `held.json`: whether it is there, for a version that is whole, and else its time.
    """

    def __init__(self, stored: StoredVersion) -> None:
        """Raises TableDamaged when held.json is not what it should be, StorageFailure."""
        self._stored = stored
        self._directory = _Directory(stored.directory)
        self._known: _Known | None = None
        self._now()

    def require(self, rows: NDArray[np.int64]) -> object:
        """Raise RowsNotHeld unless all rows (n,), each inside the table, lie in blocks that are held now.

        What it returns is for `require_still`, after they were copied. Only that one looks at a version that is whole.
        Both raise TableDamaged and StorageFailure, too.
        """
        known = None if self._known is None else self._now()
        self._check(known, rows)
        return known

    def require_still(self, rows: NDArray[np.int64], seen: object) -> None:
        """Raise RowsNotHeld if a block went since `require`: it may be gone from the file by then, or bad."""
        known = self._now()
        if known is not seen:
            self._check(known, rows)

    def _check(self, known: _Known | None, rows: NDArray[np.int64]) -> None:
        if known is None or known.is_all:
            return
        are_held = known.is_held.take(rows // self._stored.manifest.block_rows)
        if not are_held.all():
            raise RowsNotHeld(self._stored.table, self._stored.version, int(rows[are_held.argmin()]))

    def _now(self) -> _Known | None:
        """Return what held.json says now, None for a version that is whole."""
        known = self._known
        if known is None:
            if self._directory.has_no_held():
                return None
        elif self._directory.identity() in (known.identity, None):
            return known  # what was dropped from the data root stays as it was, for those who still read it
        self._known = known = _read(self._stored, self._directory)
        return known


def held_blocks(stored: StoredVersion) -> NDArray[np.bool_]:
    """Return which blocks of a version are held now, (num_blocks,). Raises TableDamaged, StorageFailure."""
    path = stored.directory / HELD
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return np.ones(stored.manifest.num_blocks, np.bool_)
    except OSError as error:
        raise StorageFailure(path, error.strerror or str(error)) from error
    return parse_held(stored, data)


def parse_held(stored: StoredVersion, data: bytes) -> NDArray[np.bool_]:
    """Return what the content of a held.json says, (num_blocks,); raises TableDamaged when it says nothing sound."""
    try:
        num_blocks = stored.manifest.num_blocks
        return blocks_of(ranges_held(data, num_blocks), num_blocks)
    except (ValueError, RecursionError) as error:
        detail = f"does not say which blocks are held: {error}"
        raise TableDamaged(stored.table, stored.version, stored.directory / HELD, detail) from error


def ranges_held(data: bytes, num_blocks: int) -> list[tuple[int, int]]:
    """Return the ranges of blocks that the content of a held.json names; raises ValueError for anything else."""
    content = json.loads(data)
    if not isinstance(content, dict) or content.get("format") != _FORMAT or not isinstance(content.get("blocks"), list):
        raise ValueError(f"must be an object of format {_FORMAT} with a list of blocks, got {content!r:.200}")
    ranges: list[tuple[int, int]] = []
    for found in content["blocks"]:
        if not isinstance(found, list) or [type(border) for border in found] != [int, int]:
            raise ValueError(f"a range must be two whole numbers, got {found!r:.200}")
        ranges.append((found[0], found[1]))
    return ranges_of(blocks_of(ranges, num_blocks))


def held_json(is_held: NDArray[np.bool_]) -> bytes:
    """Return the content of held.json for blocks (num_blocks,)."""
    return json.dumps({"format": _FORMAT, "blocks": ranges_of(is_held)}).encode() + b"\n"


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


def blocks_of(ranges: BlockRanges, num_blocks: int) -> NDArray[np.bool_]:
    """Return which blocks lie in `ranges`, (num_blocks,); raises ValueError for a range outside, or empty."""
    blocks = np.zeros(num_blocks, np.bool_)
    for first, end in ranges:
        if not 0 <= first < end <= num_blocks:
            raise ValueError(f"blocks must lie in 0 to {num_blocks} and be at least one, got {first} to {end}")
        blocks[first:end] = True
    return blocks


@dataclass(frozen=True, slots=True)
class _Known:
    """What held.json said when it was `identity`."""

    identity: Identity
    is_held: NDArray[np.bool_]
    is_all: bool


class _Directory:
    """The directory of a version, held open: another of the same name may take its place, with other blocks."""

    def __init__(self, path: Path) -> None:
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StorageFailure(path, error.strerror or str(error)) from error

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)

    def has_no_held(self) -> bool:
        """Tell, as quickly as can be told, that there is no held.json."""
        return not os.access(HELD, os.F_OK, dir_fd=self.descriptor)

    def identity(self) -> Identity | None:
        """Return what tells held.json from the one before it; None where there is none any more."""
        try:
            return _identity(os.stat(HELD, dir_fd=self.descriptor))
        except OSError:
            return None


def _identity(status: os.stat_result) -> Identity:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read(stored: StoredVersion, directory: _Directory) -> _Known:
    try:
        descriptor = os.open(HELD, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory.descriptor)
        with open(descriptor, "rb") as file:  # noqa: PTH123  (a descriptor has no path)
            identity, data = _identity(os.fstat(descriptor)), file.read()
    except OSError as error:
        raise StorageFailure(stored.directory / HELD, error.strerror or str(error)) from error
    is_held = parse_held(stored, data)
    return _Known(identity, is_held, bool(is_held.all()))
