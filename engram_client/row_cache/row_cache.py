"""A bounded set of rows, found and replaced a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from engram_client.row_cache.key_hash import hash_keys, high_half, place_in
from engram_client.row_cache.remembered import ENTRY_BYTES, RememberedScores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engram_client.arrays import Int64Array, Uint8Array

WAYS: Final = 8
_NO_KEY: Final = -1
_SLOT_BYTES: Final = 8 + 4  # key and score
_REMEMBERED_A_SLOT: Final = 2
_LOOKUPS_A_SLOT_AND_HALVING: Final = 5
_BATCH_ROWS: Final = 8192  # what is worked on at a time: the arrays in between stay in the processor's cache


class RowCache:
    """Rows of one width under integer keys, within a fixed number of bytes.

    Slots come in sets of eight; the hash of a key names its set, so finding a key compares eight numbers that lie side
    by side. Of a batch the best rows of each set are admitted against its least valued ones. The score is the logarithm
    of a frequency that halves over time: what is looked up again gains, what is not sinks, and a row that was looked up
    once cannot push out one that is looked up often. Scores of rows that are not held are remembered for a while.

    Measured on 800,000 tokens of the kernel's manual, one column of each order, as a share of what the best fixed
    choice of as many rows saves when it is loaded beforehand (0.85 of that is left to it if it pays for loading). With
    room for as many rows as that choice, what is kept beside them not counted, any row against any other and nothing
    forgotten: this score 0.75 (halving every 4, 5, 6, 8 lookups a slot: 0.74, 0.75, 0.74, 0.72), without halving 0.65,
    two of them with short and long memory 0.76, count by age 0.76. Scores of as many rows remembered as are held 0.73,
    twice, four times as many 0.74, 0.75, none 0.71. A choice that knows the future: 1.10. With all bytes counted, this:
    0.69; remembering three a slot the same; sets of 16, 32: 0.70, 0.71, for more work.
    tests/bench/less_to_send.py shows the whole, where what is kept beside the rows takes a fourteenth of the bytes.

    Not safe for threads: the event loop that it works for keeps its calls apart.

    Args:
        cache_bytes: the most that it may hold, everything counted.
        row_bytes: width of a row.

    Raises:
        ValueError: cache_bytes do not hold one set of rows.
    """

    def __init__(self, cache_bytes: int, row_bytes: int) -> None:
        num_sets = cache_bytes // set_bytes(row_bytes)
        if num_sets < 1:
            raise ValueError(
                f"cache_bytes must be at least {set_bytes(row_bytes)} for rows of {row_bytes} bytes, got {cache_bytes}"
            )
        self.num_slots = num_sets * WAYS
        self._num_sets = num_sets
        self._keys = np.full((num_sets, WAYS), _NO_KEY, np.int64)
        self._scores = np.full((num_sets, WAYS), -np.inf, np.float32)
        self._rows = _items(np.empty((self.num_slots, row_bytes), np.uint8))
        self._remembered = RememberedScores(self.num_slots * _REMEMBERED_A_SLOT)
        self._halving_lookups = self.num_slots * _LOOKUPS_A_SLOT_AND_HALVING
        self._lookups = 0  # since the last halving

    @property
    def nbytes(self) -> int:
        """Bytes held, at most cache_bytes; a call needs some megabytes more while it runs."""
        arrays = (self._keys, self._scores, self._rows)
        return sum(array.nbytes for array in arrays) + self._remembered.nbytes

    def take(self, keys: Int64Array, out: Uint8Array, share: float = 1.0) -> Int64Array:
        """Put the rows that are held into `out` (n, row_bytes) and return the places of the other keys, ascending.

        Keys (n,) are at least 0; rows of `out` at the places returned are left alone. With a share below 1 only that
        share of the sets is used, here and in `put`, and keys of the others are missing: what happens in those sets is
        what would happen there with all of them.
        """
        missing = [
            start + self._take(keys[start : start + _BATCH_ROWS], out[start : start + _BATCH_ROWS], share)
            for start in range(0, len(keys), _BATCH_ROWS)
        ]
        return np.concatenate(missing) if missing else np.empty(0, np.int64)

    def put(self, keys: Int64Array, rows: Uint8Array, share: float = 1.0) -> None:
        """Offer the rows (n, row_bytes) of keys that `take` did not find; keeps copies of those that are worth it.

        Keys may repeat and may have been put in meanwhile, each time with the same row.
        """
        for start in range(0, len(keys), _BATCH_ROWS):
            self._put(keys[start : start + _BATCH_ROWS], rows[start : start + _BATCH_ROWS], share)

    def _take(self, keys: Int64Array, out: Uint8Array, share: float) -> Int64Array:
        hashes = hash_keys(keys)
        asked = self._places_in(share, hashes)
        found, slots = self._find(keys[asked], self._sets_of(hashes[asked]))
        places = asked[found]
        if places.size:
            _items(out)[places] = self._rows[slots]
            scores = self._scores.reshape(-1)
            scores[slots] = np.logaddexp2(scores[slots], self._now())  # one more, now
        self._grow_older(len(keys))
        is_missing = np.ones(len(keys), np.bool_)
        is_missing[places] = False
        return np.flatnonzero(is_missing)

    def _put(self, keys: Int64Array, rows: Uint8Array, share: float) -> None:
        hashes = hash_keys(keys)
        offered = self._places_in(share, hashes)
        keys, hashes = keys[offered], hashes[offered]
        sets = self._sets_of(hashes)
        scores = np.logaddexp2(self._remembered.recall(hashes), self._now())
        chosen, slots = self._choose(keys, sets, scores)
        is_refused = np.ones(len(keys), np.bool_)
        is_refused[chosen] = False
        self._remember_rows_in(slots)
        self._remembered.note(hashes[is_refused], scores[is_refused])
        self._rows[slots] = _items(rows)[offered[chosen]]
        self._keys.reshape(-1)[slots] = keys[chosen]
        self._scores.reshape(-1)[slots] = scores[chosen]

    def _choose(self, keys: Int64Array, sets: Int64Array, scores: NDArray[np.float32]) -> tuple[Int64Array, Int64Array]:
        """Return the places of the keys to admit and a slot for each: in a set, the best against the least valued."""
        in_set = self._scores.take(sets, axis=0)
        ways = in_set.argmin(axis=1)
        worth_more = np.flatnonzero(scores >= in_set[np.arange(len(sets)), ways])
        worth_more = worth_more[self._not_held(keys[worth_more], sets[worth_more])]
        order = worth_more[np.lexsort((keys[worth_more], -scores[worth_more], sets[worth_more]))]
        order = order[_differs_from_before(keys[order])]  # a key that repeats came to lie beside itself
        numbers, is_first = np.arange(len(order)), _differs_from_before(sets[order])
        ranks = numbers - np.maximum.accumulate(np.where(is_first, numbers, 0))
        order, ranks = order[ranks < WAYS], ranks[ranks < WAYS]
        later = np.flatnonzero(ranks)  # those that are not the first of their set take the next in value
        ascending = in_set[order[later]].argsort(axis=1, kind="stable")  # stable: the first is the one of argmin
        ways[order[later]] = ascending[np.arange(len(later)), ranks[later]]
        slots = sets[order] * WAYS + ways[order]
        is_worth_more = scores[order] >= self._scores.reshape(-1)[slots]
        return order[is_worth_more], slots[is_worth_more]

    def _remember_rows_in(self, slots: Int64Array) -> None:
        """Note what the rows in these slots are worth, for they are about to be replaced."""
        keys = self._keys.reshape(-1)[slots]
        is_used = keys != _NO_KEY
        self._remembered.note(hash_keys(keys[is_used]), self._scores.reshape(-1)[slots[is_used]])

    def _places_in(self, share: float, hashes: NDArray[np.uint64]) -> Int64Array:
        """Return the places of the hashes that fall into the first share of the sets."""
        if share == 1:
            return np.arange(len(hashes))
        return np.flatnonzero(self._sets_of(hashes) < share * self._num_sets)

    def _sets_of(self, hashes: NDArray[np.uint64]) -> Int64Array:
        return place_in(high_half(hashes), self._num_sets)

    def _find(self, keys: Int64Array, sets: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Return the places of the keys that are held, and their slots."""
        found = np.flatnonzero(self._keys.take(sets, axis=0) == keys[:, None])
        places = found // WAYS
        return places, sets[places] * WAYS + found % WAYS

    def _not_held(self, keys: Int64Array, sets: Int64Array) -> NDArray[np.bool_]:
        held, _ = self._find(keys, sets)
        is_not_held = np.ones(len(keys), np.bool_)
        is_not_held[held] = False
        return is_not_held

    def _now(self) -> np.float32:
        """Return what a lookup at this moment counts, as a logarithm: later ones weigh more, up to twice as much."""
        return np.float32(self._lookups / self._halving_lookups)

    def _grow_older(self, lookups: int) -> None:
        self._lookups += lookups
        while self._lookups >= self._halving_lookups:
            self._lookups -= self._halving_lookups
            self._scores -= 1
            self._remembered.age()


def set_bytes(row_bytes: int) -> int:
    """Return what one set of slots takes, everything counted."""
    return WAYS * (_SLOT_BYTES + row_bytes + _REMEMBERED_A_SLOT * ENTRY_BYTES)


def _differs_from_before(values: Int64Array) -> NDArray[np.bool_]:
    """Return True for the first of each run of equal values."""
    differs = np.ones(len(values), np.bool_)
    differs[1:] = values[1:] != values[:-1]
    return differs


def _items(rows: Uint8Array) -> NDArray[np.void]:
    """Return rows (n, row_bytes) as n items: NumPy moves them in half the time."""
    return rows.reshape(-1).view(f"V{rows.shape[1]}")
