"""Calls that several ranks of one process make alike: the first of them sends the fetches, the others join."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from engram_model.prefetch.issue import Issued, Issuer, Tokens
    from engram_model.torch_hashing import TorchHistory

    Histories = Mapping[int, TorchHistory | None] | None


class _Call:
    """What all ranks ask for, or will: each of them once."""

    def __init__(self, num_ranks: int) -> None:
        self.made: tuple[Tokens, Histories, Issued] | None = None
        self.to_join = set(range(num_ranks))
        self.making = threading.Lock()


class SharedCalls:
    """Gives the n-th call of every rank the same fetches; a single rank has all calls for itself."""

    def __init__(self, issuer: Issuer, num_ranks: int) -> None:
        self.issuer = issuer
        self._num_ranks = num_ranks
        self._calls_of = [0] * num_ranks
        self._open: dict[int, _Call] = {}
        self._lock = threading.Lock()

    def join(self, rank: int, tokens: Tokens, histories: Histories, order: Sequence[int]) -> Issued:
        """Return the fetches of a rank's next call; if that fails, the rank has made no call.

        Raises:
            ValueError: the rank that made this call first asked for other tokens.
        """
        if self._num_ranks == 1:
            return self.issuer.issue(tokens, histories, order)
        number = self._calls_of[rank]
        with self._lock:
            call = self._open.setdefault(number, _Call(self._num_ranks))
        with call.making:  # a rank that is ahead may wait here for buffers, which the others must come to free
            if call.made is None:
                call.made = _kept(tokens), histories, self.issuer.issue(tokens, histories, order)
            elif not _alike(*call.made[:2], tokens, histories):
                raise ValueError(
                    f"rank {rank} asks for other tokens in its call {number} than the rank before it: all ranks must "
                    "make the same calls in the same order"
                )
            issued = call.made[2]
        self._calls_of[rank] += 1
        with self._lock:
            call.to_join.discard(rank)
            if not call.to_join:
                del self._open[number]
        return issued


def _kept(tokens: Tokens) -> Tokens:
    """Return a copy that the caller cannot change."""
    mask, sequence_ids = tokens.mask, tokens.sequence_ids
    return tokens._replace(
        ids=tokens.ids.copy(),
        mask=None if mask is None else mask.copy(),
        sequence_ids=None if sequence_ids is None else sequence_ids.copy(),
    )


def _alike(our_tokens: Tokens, ours: Histories, their_tokens: Tokens, theirs: Histories) -> bool:
    return all(map(_same_arrays, our_tokens, their_tokens)) and _same_histories(ours, theirs)


def _same_arrays(one: NDArray[np.generic] | None, other: NDArray[np.generic] | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)


def _same_histories(ours: Histories, theirs: Histories) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return all(_same_history(history, theirs[layer]) for layer, history in ours.items())


def _same_history(one: TorchHistory | None, other: TorchHistory | None) -> bool:
    if one is None or other is None or one is other:
        return one is other
    if one.made_by != other.made_by or not torch.equal(one.tokens, other.tokens):
        return False
    if one.documents is None or other.documents is None:
        return one.documents is other.documents
    return torch.equal(one.documents, other.documents)
