"""The n-gram hash of LongCat's input embedding: a polynomial in the vocabulary's size, a modulus a head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engram_client.hashing.polynomial import OrderHash, check_sums, polynomial_rows
from engram_client.hashing.row_hasher import RowHasher
from engram_client.hashing.spec import MAX_VOCAB_SIZE, check_at_least, whole_number
from engram_client.hashing.token_reader import ReadTokens, TokenReader, blank, raw_ids

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engram_client.hashing.history import NgramWindow

LAYER = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LongcatSpec:
    """What the hash of one LongCat model is made from, checked on creation as `HashSpec` is."""

    vocab_size: int
    """Raw token ids V of the model, and the base of the polynomial."""
    eos_id: int
    """The id that ends a document."""
    max_ngram: int
    """The highest order N, `emb_neighbor_num` of the model's configuration."""
    heads: int
    """Tables per order K, `emb_split_num`."""
    base_rows: int
    """m = int(`ngram_vocab_size_ratio` * V); head k of order n has m + 2 * ((n - 2) * K + k) + 1 rows."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "eos_id", "max_ngram", "heads", "base_rows"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        check_at_least(2, max_ngram=self.max_ngram)
        check_at_least(1, vocab_size=self.vocab_size, heads=self.heads)
        if not 1 <= self.base_rows <= MAX_VOCAB_SIZE:
            raise ValueError(f"base_rows must lie between 1 and {MAX_VOCAB_SIZE}, got {self.base_rows}")
        if not 0 <= self.eos_id < self.vocab_size:
            raise ValueError(f"eos_id must lie between 0 and vocab_size - 1 = {self.vocab_size - 1}, got {self.eos_id}")

    @classmethod
    def flash_lite(cls) -> LongcatSpec:
        """The hash of LongCat-Flash-Lite, by the defaults of its published configuration."""
        return cls(vocab_size=131_072, eos_id=2, max_ngram=4, heads=4, base_rows=78 * 131_072)


class LongcatHasher(RowHasher):
    """Turns raw token ids into row numbers of the one table beside the input embedding, layer 0.

    The published model has a table of M = `moduli[n - 2][k]` rows for each order n and head k. Here they lie one behind
    the other in one table, all heads of order 2, then of order 3: row = offset + (sum over j of the token j back *
    (V**j mod M)) mod M. Readings taken:

    - Look-back stops after the nearest EOS before the token, at the sequence start and at an ignored token; what cannot
      be seen adds nothing. A token that is EOS itself still sees its own document (so in the model's published code).
    - Negative ids are ignored tokens, the same as `mask` False and `sequence_ids` 0. An ignored token sees nothing, not
      even itself, and reads the first row of each head.

    Attributes are those of `NgramHasher`, with `moduli`, int64 (max_ngram - 1, heads), in place of the primes and
    multipliers.
    """

    family = "longcat"

    def __init__(self, spec: LongcatSpec) -> None:
        self.spec = spec
        self.layer_ids, self.orders = (LAYER,), range(2, spec.max_ngram + 1)
        self.columns = len(self.orders) * spec.heads
        self.moduli = (spec.base_rows + 2 * np.arange(self.columns) + 1).reshape(-1, spec.heads)
        offsets = np.cumsum(self.moduli) - self.moduli.ravel()
        for array in (self.moduli, offsets):
            array.setflags(write=False)
        self.offsets = {LAYER: offsets}
        self.num_rows = {LAYER: int(self.moduli.sum())}
        self.order_hashes = tuple(self._order_hash(order) for order in self.orders)
        check_sums(self.order_hashes, spec.vocab_size - 1)
        self.reader = TokenReader(
            past=spec.max_ngram - 1, pad_id=0, made_by=f"the longcat family of {spec}", read=self._read
        )

    def _rows(self, window: NgramWindow, layer: int) -> NDArray[np.int64]:  # noqa: ARG002  there is one layer
        return polynomial_rows(window, self.order_hashes)

    def _facts(self, layer: int) -> dict[str, Any]:
        return {
            "base_rows": self.spec.base_rows,
            "eos_id": self.spec.eos_id,
            "heads": self.spec.heads,
            "layer": layer,
            "max_ngram": self.spec.max_ngram,
            "moduli": self.moduli.tolist(),
            "vocab_size": self.spec.vocab_size,
        }

    def _read(self, ids: NDArray[np.integer], takes_part: NDArray[np.bool_] | None) -> ReadTokens:
        ids = blank(ids, takes_part)
        tokens = raw_ids(ids, self.spec.vocab_size)
        takes_part = tokens >= 0 if takes_part is None else takes_part & (tokens >= 0)
        return ReadTokens(tokens, takes_part, ends=takes_part & (tokens == self.spec.eos_id))

    def _order_hash(self, order: int) -> OrderHash:
        moduli, offsets = self.moduli[order - 2], self.offsets[LAYER].reshape(self.moduli.shape)[order - 2]
        powers = [[pow(self.spec.vocab_size, k, modulus) for modulus in moduli.tolist()] for k in range(order)]
        return OrderHash(np.array(powers, dtype=np.int64), moduli, moduli, offsets)
