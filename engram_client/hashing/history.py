"""How far back each token may look: sequence starts, tokens that take no part, document borders, streams in pieces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class NgramHistory:
    """What the next tokens of a batch of sequences can still see of the tokens before them.

    Opaque: made by a hasher's `advance`, good for all layers of that hasher, never changed in place. A token that no
    later one may look back to (it lies behind a document border, or behind one that takes no part) is already replaced
    by the pad id, so the ids alone say how far back the sequences can be seen.
    """

    tokens: NDArray[np.int64]
    """The ids that are hashed (compressed where the family has a token map), (batch, past), oldest first."""
    documents: NDArray[np.int64] | None
    """The document of each sequence's last token, (batch,); None where the stream has no sequence ids."""
    made_by: str
    """The family, spec and token map of the hasher that made it."""


def start_history(batch: int, past: int, pad_id: int, *, packed: bool, made_by: str) -> NgramHistory:
    """Return the history of sequences that have no tokens yet."""
    tokens = np.full((batch, past), pad_id, dtype=np.int64)
    return NgramHistory(tokens, np.zeros(batch, dtype=np.int64) if packed else None, made_by)


def check_history(made_by: str, shape: tuple[int, ...], expected_made_by: str, expected_shape: tuple[int, int]) -> None:
    """Refuse a history that another hasher made, or one of another batch."""
    if made_by != expected_made_by:
        raise ValueError(f"the history was made by {made_by}, so it cannot be continued by {expected_made_by}")
    if tuple(shape) != expected_shape:
        raise ValueError(f"the history must be of {expected_shape} tokens, got {tuple(shape)}")


class NgramWindow:
    """One piece of a batch of sequences with the past that it can see in front of it.

    Args:
        tokens: ids of the piece, (batch, seq); those that take no part are never seen.
        takes_part: (batch, seq), False where a token takes no part; None when all do.
        ends: (batch, seq), True where a token is the last of its document; None when no token ends one.
        documents: the sequence ids, (batch, seq); None when nothing is packed.
        history: what came before; of the same kind as the piece, packed or not.
        pad_id: what stands for everything that cannot be seen.
    """

    def __init__(
        self,
        tokens: NDArray[np.int64],
        takes_part: NDArray[np.bool_] | None,
        ends: NDArray[np.bool_] | None,
        documents: NDArray[np.int64] | None,
        history: NgramHistory,
        pad_id: int,
    ) -> None:
        self.made_by = history.made_by
        self.num_tokens: int = tokens.size
        """Tokens of the piece, batch * seq."""
        self._seq = tokens.shape[1]
        self._past = history.tokens.shape[1]
        self._pad_id = pad_id
        self._tokens = np.concatenate([history.tokens, tokens], axis=1)  # (batch, past + seq)
        self._documents = _with_previous(documents, history)
        self._visible_from = self._find_visible(takes_part, ends)
        self._seen: dict[int, NDArray[np.int64]] = {}

    def look_back(self, distance: int) -> NDArray[np.int64]:
        """Return the id `distance` positions before each token, (batch, seq); pad where it is not seen."""
        first = self._past - distance
        tokens = self._tokens[:, first : first + self._seq]
        if self._visible_from is None:
            return tokens
        if distance not in self._seen:  # all layers look at the same
            hidden = np.arange(first, first + self._seq) < self._visible_from[:, :-1]
            self._seen[distance] = np.where(hidden, self._pad_id, tokens)
        return self._seen[distance]

    def history(self) -> NgramHistory:
        """Return what the tokens after this piece can see; it keeps nothing else of the piece alive."""
        tokens = self._tokens[:, self._seq :].copy()
        if self._visible_from is not None:
            tokens[np.arange(self._seq, self._seq + self._past) < self._visible_from[:, -1:]] = self._pad_id
        documents = None if self._documents is None else self._documents[:, -1].copy()
        return NgramHistory(tokens, documents, self.made_by)

    def _find_visible(
        self, takes_part: NDArray[np.bool_] | None, ends: NDArray[np.bool_] | None
    ) -> NDArray[np.int64] | None:
        """Return the leftmost column of `_tokens` that each token, and the one after the piece, may see.

        (batch, seq + 1), or None where nothing blocks. What blocks once blocks for good ("latches"), so the answer is
        the running maximum over the borders.
        """
        if takes_part is None and ends is None and self._documents is None:
            return None
        columns = np.arange(self._past, self._past + self._seq)
        borders = np.zeros((len(self._tokens), self._seq + 1), dtype=np.int64)
        if self._documents is not None:
            borders[:, :-1] = np.where(self._documents[:, 1:] != self._documents[:, :-1], columns, 0)
        if takes_part is not None:
            borders[:, :-1] = np.where(takes_part, borders[:, :-1], columns + 1)
        if ends is not None:
            borders[:, 1:] = np.where(ends, np.maximum(borders[:, 1:], columns + 1), borders[:, 1:])
        return np.maximum.accumulate(borders, axis=1)


def _with_previous(documents: NDArray[np.int64] | None, history: NgramHistory) -> NDArray[np.int64] | None:
    """Put the document of the token before the piece in front, (batch, 1 + seq).

    A history made without sequence ids is one document, the first.
    """
    if documents is None:
        if history.documents is not None:
            raise ValueError("the history was made with sequence_ids, so the tokens that continue it need them too")
        return None
    previous = np.ones(len(documents), dtype=np.int64) if history.documents is None else history.documents
    return np.concatenate([previous[:, None], documents], axis=1)
