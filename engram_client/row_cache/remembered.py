"""Scores of keys whose rows are not held, in a fixed few bytes, whatever the number of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from engram_client.row_cache.key_hash import high_half, place_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WAYS: Final = 8
_TAG_SHIFT: Final = np.uint64(16)
ENTRY_BYTES: Final = 2 + 2  # tag and score


class RememberedScores:
    """What keys were worth lately: forgets the lowest scores first, and forgets only to make room.

    An entry is sixteen bits of a key's hash and its score, in sets of eight. Keys that share both set and tag are taken
    for one, one lookup in ten thousand: the score of a row may come out too high, the row itself is none of this.
    """

    def __init__(self, num_entries: int) -> None:
        num_sets = max(1, num_entries // _WAYS)
        self._tags = np.zeros((num_sets, _WAYS), np.uint16)
        self._scores = np.full((num_sets, _WAYS), -np.inf, np.float16)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._tags.nbytes + self._scores.nbytes

    def recall(self, hashes: NDArray[np.uint64]) -> NDArray[np.float32]:
        """Return the scores of keys (n,), given by their hashes; -inf for those that are not remembered."""
        sets = self._sets_of(hashes)
        scores = self._scores.take(sets, axis=0)
        scores[~self._is_tagged(sets, hashes)] = -np.inf
        highest: NDArray[np.float32] = scores.max(axis=1).astype(np.float32)
        return highest

    def note(self, hashes: NDArray[np.uint64], scores: NDArray[np.float32]) -> None:
        """Remember the scores of keys (n,); of two in one call that would replace the same entry, one is dropped."""
        sets = self._sets_of(hashes)
        in_set = self._scores.take(sets, axis=0)
        in_set[self._is_tagged(sets, hashes)] = -np.inf  # a key replaces itself before others
        entries = sets * _WAYS + in_set.argmin(axis=1)
        self._tags.reshape(-1)[entries] = _tags_of(hashes)
        self._scores.reshape(-1)[entries] = scores

    def age(self) -> None:
        """Take one from every score."""
        self._scores -= np.float16(1)

    def _sets_of(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        return place_in(high_half(hashes), len(self._tags))

    def _is_tagged(self, sets: NDArray[np.int64], hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        is_tagged: NDArray[np.bool_] = self._tags.take(sets, axis=0) == _tags_of(hashes)[:, None]
        return is_tagged


def _tags_of(hashes: NDArray[np.uint64]) -> NDArray[np.uint16]:
    return (hashes >> _TAG_SHIFT).astype(np.uint16)  # of the half that does not name the set, the better bits
