"""What a fetch of one layer asks for, and how the answer becomes every rank's rows: plainly, or each n-gram once."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from engram_client.hashing.distinct_rows import DistinctRows
    from engram_model.prefetch.hot_rows import HotRows, Split


class Share(NamedTuple):
    """One rank's part of what is asked for."""

    first: int
    """Which of all the rows asked for is its first."""
    shape: tuple[int, ...]
    """Of its rows: (B, T, columns), or (distinct, width) if they are to be unfolded."""
    inverse: NDArray[np.int32] | None
    """(B, T, columns / width), which of the distinct ones each unit of columns is."""
    split: Split | None = None
    """Which of the rows are on the device already; None where none are looked for there."""

    @property
    def num_sent(self) -> int:
        """Rows that are asked for."""
        return prod(self.shape) if self.split is None else len(self.split.missing)

    @property
    def numbers(self) -> list[NDArray[np.int32]]:
        """What the device needs beside the rows: the inverse, and which rows are held and where all go, if any."""
        numbers = [] if self.inverse is None else [self.inverse]
        return numbers if self.split is None else [*numbers, self.split.held, self.split.places]

    @property
    def unfolded_shape(self) -> tuple[int, ...]:
        """(B, T, columns)."""
        if self.inverse is None:
            return self.shape
        return (*self.inverse.shape[:2], self.inverse.shape[2] * self.shape[1])


class Asked(NamedTuple):
    """The rows of one layer, for all ranks."""

    ids: NDArray[np.int64]
    """Row numbers; those of one rank in the shape of its share, else (n,), each rank's after the other's, and without
    those that are held."""
    shares: tuple[Share, ...]

    @property
    def is_once(self) -> bool:
        """Whether each n-gram is said once."""
        return any(share.inverse is not None for share in self.shares)

    @property
    def num_held(self) -> int:
        """Rows that are not asked for because they are held."""
        return sum(len(share.split.held) for share in self.shares if share.split is not None)

    @property
    def num_rows(self) -> int:
        """Rows that the layer reads, repeats included."""
        return sum(prod(share.unfolded_shape) for share in self.shares)


def ask_plainly(rows: NDArray[np.int64], columns: Sequence[NDArray[np.int64]]) -> Asked:
    """Ask for rows (B, T, columns of the hash), of which each rank owns some columns."""
    return _in_turn([_cut(rows, owned) for owned in columns], [None] * len(columns))


def ask_once(distinct: DistinctRows, columns: Sequence[NDArray[np.int64]]) -> Asked:
    """Ask for the same rows, each n-gram once."""
    num_columns = distinct.inverse.shape[-1] * distinct.rows.shape[-1]
    shares = [distinct if len(owned) == num_columns else distinct.of_columns(owned) for owned in columns]
    return _in_turn([share.rows for share in shares], [share.inverse for share in shares])


def leave_out_held(asked: Asked, hot: HotRows) -> Asked:
    """Ask for the same without the rows that are held on the device."""
    ids, shares, first = asked.ids.reshape(-1), [], 0
    for share in asked.shares:
        split = hot.split(ids[share.first : share.first + prod(share.shape)])
        shares.append(share._replace(first=first, split=split))
        first += len(split.missing)
    missing = [share.split.missing for share in shares if share.split is not None]
    return Asked(missing[0] if len(missing) == 1 else np.concatenate(missing), tuple(shares))


def _cut(rows: NDArray[np.int64], owned: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows if len(owned) == rows.shape[-1] else rows[..., owned]


def _in_turn(rows: list[NDArray[np.int64]], inverses: Sequence[NDArray[np.int32] | None]) -> Asked:
    shares, first = [], 0
    for of_rank, inverse in zip(rows, inverses, strict=True):
        shares.append(Share(first, of_rank.shape, inverse))
        first += of_rank.size
    ids = rows[0] if len(rows) == 1 else np.concatenate([of_rank.reshape(-1) for of_rank in rows])
    return Asked(ids, tuple(shares))
