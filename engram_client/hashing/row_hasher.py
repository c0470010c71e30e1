"""What every family of n-gram hashes offers: token ids in, row numbers of a layer's table out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from engram_client.hashing.distinct_rows import distinct_of_rows
from engram_client.hashing.fingerprint import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from engram_client.hashing.distinct_rows import DistinctRows
    from engram_client.hashing.history import NgramHistory, NgramWindow
    from engram_client.hashing.token_reader import TokenReader


class RowHasher(ABC):
    """Turns token ids into row numbers: NgramHasher, QwenPleHasher, LongcatHasher and StudyHasher.

    A family says how its tokens are read (`reader`), and what a window of them gives (`_rows`, `_distinct_rows`).
    """

    family: ClassVar[str]
    """The name under which the family makes fingerprints."""
    layer_ids: tuple[int, ...]
    """The layers with a table."""
    orders: range
    """The n-gram orders that are looked up, for instance range(2, 5)."""
    columns: int
    """Rows that one token looks up: all heads of the lowest order, then of the next."""
    num_rows: Mapping[int, int]
    """Layer id to the rows of the layer's whole table."""
    offsets: Mapping[int, NDArray[np.int64]]
    """Layer id to int64 (columns,), the first row of each head's part of the table."""
    reader: TokenReader
    """What checks token ids and puts their past in front: its windows serve all layers, and give the history."""

    def rows(
        self,
        token_ids: ArrayLike,
        layer: int,
        mask: ArrayLike | None = None,
        sequence_ids: ArrayLike | None = None,
        history: NgramHistory | None = None,
    ) -> NDArray[np.int64]:
        """Return the row numbers to look up in the table of `layer`, int64 (batch, seq, columns), offsets included.

        Any cutting of a sequence into pieces gives the rows of the whole, if each piece brings the history of those
        before it.

        Args:
            token_ids: integers (batch, seq).
            layer: one of `layer_ids`.
            mask: booleans (batch, seq); False marks a token that takes no part, and its id is never read.
            sequence_ids: integers (batch, seq), the documents packed into each row, 0 for padding. A token sees only
                its own document; padding takes no part.
            history: what `advance` returned for the tokens before these; None at the start.

        Raises:
            KeyError: there is no such layer.
            IndexError: a token id is not one of the vocabulary.
            ValueError: shapes disagree, the history is of another hasher or batch, or one made with sequence ids is
                continued without them.
            TypeError: ids are not integers or the mask is not boolean.
        """
        return self.rows_of(self.reader.window(token_ids, mask, sequence_ids, history), layer)

    def rows_of(self, window: NgramWindow, layer: int) -> NDArray[np.int64]:
        """Return `rows` of the tokens of a window that the reader made.

        Whoever hashes several layers makes the window once. Raises KeyError if there is no such layer, ValueError if
        another hasher's reader made the window.
        """
        check_layer(layer, self.layer_ids)
        self.reader.check_own(window)
        return self._rows(window, layer)

    def distinct_rows(
        self,
        token_ids: ArrayLike,
        layer: int,
        mask: ArrayLike | None = None,
        sequence_ids: ArrayLike | None = None,
        history: NgramHistory | None = None,
    ) -> DistinctRows:
        """Return the same rows with each n-gram said once, to fetch less; arguments and errors as for `rows`.

        `distinct.expand(distinct.rows)` is what `rows` returns, and what was fetched for `distinct.rows` expands alike.
        Of 8,192 tokens of text a third of the n-grams are repeats.
        """
        return self.distinct_rows_of(self.reader.window(token_ids, mask, sequence_ids, history), layer)

    def distinct_rows_of(self, window: NgramWindow, layer: int) -> DistinctRows:
        """Return `distinct_rows` of a window; as `rows_of`."""
        check_layer(layer, self.layer_ids)
        self.reader.check_own(window)
        return self._distinct_rows(window, layer)

    def advance(
        self,
        history: NgramHistory | None,
        token_ids: ArrayLike,
        mask: ArrayLike | None = None,
        sequence_ids: ArrayLike | None = None,
    ) -> NgramHistory:
        """Return the history for the tokens after these; arguments and errors as for `rows`."""
        return self.reader.window(token_ids, mask, sequence_ids, history).history()

    def fingerprint(self, layer: int) -> str:
        """Return the digest of everything that decides which row of the table of `layer` a token reads.

        `engram_client.hashing.fingerprint` says what is hashed.
        """
        check_layer(layer, self.layer_ids)
        return fingerprint(self.family, self._facts(layer))

    @abstractmethod
    def _rows(self, window: NgramWindow, layer: int) -> NDArray[np.int64]:
        """Return the rows of a window's tokens, (batch, seq, columns), of a layer that is there."""

    def _distinct_rows(self, window: NgramWindow, layer: int) -> DistinctRows:
        """Return the same rows, repeats said once: of rows, where heads share no mix that could be compared instead."""
        return distinct_of_rows(self._rows(window, layer))

    @abstractmethod
    def _facts(self, layer: int) -> dict[str, Any]:
        """Return what the fingerprint of a layer is made from."""


def local_indices(hasher: RowHasher, rows: NDArray[np.int64], layer: int) -> dict[int, NDArray[np.int64]]:
    """Return, for each n-gram order, the rows (batch, seq, heads) counted from the start of each head's own part."""
    heads = hasher.columns // len(hasher.orders)
    local = (rows - hasher.offsets[layer]).reshape(*rows.shape[:-1], len(hasher.orders), heads)
    return {order: local[..., number, :] for number, order in enumerate(hasher.orders)}


def check_layer(layer: int, layer_ids: tuple[int, ...]) -> None:
    """Refuse a layer that has no table."""
    if layer not in layer_ids:
        raise KeyError(f"layer {layer} is not hashed, only {layer_ids}")
