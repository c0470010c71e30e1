"""The rows of a batch with each n-gram once: what to fetch, and how the answer unfolds to every token."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engram_client.distinct import find_distinct
from engram_client.hashing.head_rows import head_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class DistinctRows:
    """The row numbers of a batch (batch, seq, columns), said once for each n-gram instead of once for each token.

    The columns of a token are units of `width` columns that repeat together: the heads of one n-gram order where all of
    them share a mix, single columns where they do not.
    """

    rows: NDArray[np.int64]
    """(distinct, width), row numbers with offsets; what to fetch."""
    inverse: NDArray[np.int32]
    """(batch, seq, columns / width), which of `rows` each unit of columns is."""

    @property
    def share(self) -> float:
        """Rows to fetch for each row that the plain hash asks for, between 0 and 1."""
        return len(self.rows) / max(1, self.inverse.size)

    def of_columns(self, columns: NDArray[np.int64]) -> DistinctRows:
        """Return the same for some of the columns, ascending: those that one rank of a tensor-parallel group owns.

        Units stay whole where every unit has as many of its columns taken; else the columns become units of their own.
        """
        unit_of, head_of = np.divmod(columns, self.rows.shape[1])
        units, counts = np.unique(unit_of, return_counts=True)
        width = int(counts[0]) if (counts == counts[0]).all() else 1
        rows, inverse, start = [], [], 0
        for unit in units:
            numbers = self.inverse[..., unit]
            is_used = np.zeros(len(self.rows), np.bool_)
            is_used[numbers] = True
            heads = head_of[unit_of == unit]
            of_unit = self.rows[np.ix_(np.flatnonzero(is_used), heads)].reshape(-1, width)
            number = np.cumsum(is_used, dtype=np.int32) - 1  # of the distinct rows that the unit has
            pieces = len(heads) // width
            inverse += [number[numbers] * np.int32(pieces) + np.int32(start + piece) for piece in range(pieces)]
            rows.append(of_unit)
            start += len(of_unit)
        return DistinctRows(np.concatenate(rows), np.stack(inverse, axis=-1).astype(np.int32, copy=False))

    def expand(self, fetched: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return what was fetched for `rows`, (distinct, width, ...), for every token: (batch, seq, columns, ...).

        Bytes or decoded numbers of any kind; `out` is C-contiguous, of the result's shape and type.
        """
        batch, seq, units = self.inverse.shape
        width, rest = fetched.shape[1], fetched.shape[2:]
        if out is None:
            out = np.empty((batch, seq, units * width, *rest), fetched.dtype)
        by_unit = out.reshape(batch, seq, units, width, *rest)
        np.take(fetched, self.inverse, axis=0, out=by_unit, mode="clip")  # all are in range; "raise" copies out first
        return out


def distinct_of_mixes(
    mixes: NDArray[np.int64], batch: int, primes: NDArray[np.int64], offsets: NDArray[np.int64]
) -> DistinctRows:
    """Return the rows of mixes (orders, batch * seq), whose heads repeat together; parameters as for `head_rows`."""
    (orders, tokens), heads = mixes.shape, primes.shape[1]
    first, inverse = find_distinct(mixes)
    distinct, border = mixes.reshape(-1)[first], np.searchsorted(first, np.arange(orders + 1) * tokens)
    rows = np.empty((first.size, heads), np.int64)
    for order, (begin, end) in enumerate(itertools.pairwise(border)):
        of_order = slice(order * heads, (order + 1) * heads)
        rows[begin:end] = head_rows(distinct[None, begin:end], primes[order : order + 1], offsets[of_order])
    seq = tokens // batch if batch else 0
    return DistinctRows(rows, np.ascontiguousarray(inverse.T).reshape(batch, seq, orders))


def distinct_of_rows(rows: NDArray[np.int64]) -> DistinctRows:
    """Return rows (batch, seq, columns) of a hash whose heads share no mix, each row once."""
    first, inverse = find_distinct(rows.reshape(1, -1))
    return DistinctRows(rows.reshape(-1, 1)[first], inverse.reshape(rows.shape))
