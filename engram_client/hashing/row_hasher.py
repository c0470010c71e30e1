"""What every family of n-gram hashes offers: token ids in, row numbers of a layer's table out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from engram_client.hashing.distinct_rows import DistinctRows
    from engram_client.hashing.history import NgramHistory, NgramWindow
    from engram_client.hashing.token_reader import TokenReader


class RowHasher(Protocol):
    """Turns token ids into row numbers: NgramHasher, QwenPleHasher, LongcatHasher and StudyHasher."""

    @property
    def layer_ids(self) -> tuple[int, ...]:
        """The layers with a table."""
        ...

    @property
    def orders(self) -> range:
        """The n-gram orders that are looked up, for instance range(2, 5)."""
        ...

    @property
    def columns(self) -> int:
        """Rows that one token looks up: all heads of the lowest order, then of the next."""
        ...

    @property
    def num_rows(self) -> Mapping[int, int]:
        """Layer id to the rows of the layer's whole table."""
        ...

    @property
    def offsets(self) -> Mapping[int, NDArray[np.int64]]:
        """Layer id to int64 (columns,), the first row of each head's part of the table."""
        ...

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
        ...

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
        ...

    @property
    def reader(self) -> TokenReader:
        """What checks token ids and puts their past in front: its windows serve all layers, and give the history."""
        ...

    def rows_of(self, window: NgramWindow, layer: int) -> NDArray[np.int64]:
        """Return `rows` of the tokens of a window that the reader made.

        Whoever hashes several layers makes the window once. Raises KeyError if there is no such layer.
        """
        ...

    def distinct_rows_of(self, window: NgramWindow, layer: int) -> DistinctRows:
        """Return `distinct_rows` likewise."""
        ...

    def advance(
        self,
        history: NgramHistory | None,
        token_ids: ArrayLike,
        mask: ArrayLike | None = None,
        sequence_ids: ArrayLike | None = None,
    ) -> NgramHistory:
        """Return the history for the tokens after these; arguments and errors as for `rows`."""
        ...

    def fingerprint(self, layer: int) -> str:
        """Return the digest of everything that decides which row of the table of `layer` a token reads."""
        ...


def local_indices(hasher: RowHasher, rows: NDArray[np.int64], layer: int) -> dict[int, NDArray[np.int64]]:
    """Return, for each n-gram order, the rows (batch, seq, heads) counted from the start of each head's own part."""
    heads = hasher.columns // len(hasher.orders)
    local = (rows - hasher.offsets[layer]).reshape(*rows.shape[:-1], len(hasher.orders), heads)
    return {order: local[..., number, :] for number, order in enumerate(hasher.orders)}


def check_layer(layer: int, layer_ids: tuple[int, ...]) -> None:
    """Refuse a layer that has no table."""
    if layer not in layer_ids:
        raise KeyError(f"layer {layer} is not hashed, only {layer_ids}")
