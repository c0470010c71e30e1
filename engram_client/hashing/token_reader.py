"""From what a caller hands over, checked, to the window of tokens that a hash looks back through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from engram_client.hashing.history import NgramHistory, NgramWindow, check_history, start_history

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray


class ReadTokens(NamedTuple):
    """Token ids as one family hashes them, each (batch, seq)."""

    tokens: NDArray[np.int64]
    takes_part: NDArray[np.bool_] | None
    """False where a token neither sees nor is seen; None when all take part."""
    ends: NDArray[np.bool_] | None = None
    """True where a token is the last of its document; None when no token ends one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenReader:
    """Checks token ids and what comes with them, and puts what can be seen of the past in front."""

    past: int
    """Tokens that the highest order looks back."""
    pad_id: int
    """What stands for a token that cannot be seen."""
    made_by: str
    """The hasher's family, spec and token map; histories carry it."""
    read: Callable[[NDArray[np.integer], NDArray[np.bool_] | None], ReadTokens]
    """The family's reading of checked ids; the second argument is False where a token takes no part."""

    def window(
        self,
        token_ids: ArrayLike,
        mask: ArrayLike | None,
        sequence_ids: ArrayLike | None,
        history: NgramHistory | None,
    ) -> NgramWindow:
        """Return the tokens with their past; arguments and errors as for `RowHasher.rows`."""
        ids = _checked_array("token_ids", token_ids, "iu", "integers")
        takes_part = None if mask is None else _checked_array("mask", mask, "b", "booleans", ids.shape).astype(np.bool_)
        documents = None
        if sequence_ids is not None:
            documents = _checked_array("sequence_ids", sequence_ids, "iu", "integers", ids.shape).astype(np.int64)
            takes_part = documents != 0 if takes_part is None else takes_part & (documents != 0)
        if history is None:
            packed = documents is not None
            history = start_history(len(ids), self.past, self.pad_id, packed=packed, made_by=self.made_by)
        if not isinstance(history, NgramHistory):
            raise TypeError(f"history must be what `advance` returned, or None at the start, got {history!r:.100}")
        check_history(history.made_by, history.tokens.shape, self.made_by, (len(ids), self.past))
        read = self.read(ids, takes_part)
        return NgramWindow(read.tokens, read.takes_part, read.ends, documents, history, self.pad_id)

    def check_own(self, window: NgramWindow) -> None:
        """Refuse a window that another hasher's reader made: it holds other ids."""
        if window.made_by != self.made_by:
            raise ValueError(f"the window was made by {window.made_by}, so it cannot be hashed by {self.made_by}")


def look_up(ids: NDArray[np.integer], token_map: NDArray[np.int64]) -> NDArray[np.int64]:
    """Map raw ids to compressed ones; negative ids pass."""
    _check_below(ids, len(token_map), "the token map's length")
    ids = ids.astype(np.int64, copy=False)
    if ids.size > 0 and ids.min() < 0:
        return np.where(ids < 0, ids, token_map[np.maximum(ids, 0)])
    return token_map.take(ids)


def refuse_negative(ids: NDArray[np.integer]) -> None:
    """Refuse ids below zero, for families that give them no meaning."""
    if ids.size > 0 and ids.min() < 0:
        raise IndexError(f"token ids must not be negative (mask the tokens that take no part), got {ids.min()}")


def raw_ids(ids: NDArray[np.integer], vocab_size: int) -> NDArray[np.int64]:
    """Return ids of a vocabulary that is hashed as it is; negative ids pass."""
    _check_below(ids, vocab_size, "the vocabulary's size")
    return ids.astype(np.int64, copy=False)


def blank(ids: NDArray[np.integer], takes_part: NDArray[np.bool_] | None, value: int = 0) -> NDArray[np.integer]:
    """Replace the ids of tokens that take no part, which are never looked at."""
    return ids if takes_part is None else np.where(takes_part, ids, np.asarray(value, dtype=ids.dtype))


def checked_token_map(token_map: ArrayLike) -> NDArray[np.int64]:
    """Return a read-only copy of a token map, int64 (vocabulary,)."""
    compressed = np.asarray(token_map)
    if compressed.dtype.kind not in "iu":
        raise TypeError(f"the token map must hold integers, got {compressed.dtype}")
    if compressed.ndim != 1 or compressed.size == 0:
        raise ValueError(f"the token map must be one row of at least one compressed id, got shape {compressed.shape}")
    compressed = compressed.astype(np.int64)  # a copy; what does not fit turns negative
    if compressed.min() < 0:
        raise ValueError(f"compressed ids must lie between 0 and {2**63 - 1}, got {compressed.min()} in the token map")
    compressed.setflags(write=False)
    return compressed


def _check_below(ids: NDArray[np.integer], limit: int, what: str) -> None:
    if ids.size > 0 and ids.max() >= limit:
        raise IndexError(f"token ids must be below {limit}, {what}, got {ids.max()}")


def _checked_array(
    name: str, values: ArrayLike, kinds: str, noun: str, shape: tuple[int, ...] | None = None
) -> NDArray[np.integer]:
    """Return (batch, seq) values of the kind asked for; an empty list has no kind of its own."""
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of several lengths
        raise ValueError(f"{name} must be a rectangle of {noun} (batch, seq): {error}") from error
    if array.size > 0 and array.dtype.kind not in kinds:
        raise TypeError(f"{name} must be {noun}, got {array.dtype}")
    if shape is None and array.ndim != 2:
        raise ValueError(f"{name} must be of shape (batch, seq), got {array.shape}")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{name} must have the shape of token_ids, {shape}, got {array.shape}")
    return array
