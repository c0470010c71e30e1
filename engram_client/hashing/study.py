"""The n-gram hash of the study implementation: polynomials, a base and a modulus a head, the same in all layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engram_client.hashing.fingerprint import token_map_sha256
from engram_client.hashing.polynomial import OrderHash, check_sums, polynomial_rows
from engram_client.hashing.primes import is_prime
from engram_client.hashing.row_hasher import RowHasher, local_indices
from engram_client.hashing.spec import MAX_VOCAB_SIZE, check_at_least, check_layer_ids, whole_number
from engram_client.hashing.token_reader import (
    ReadTokens,
    TokenReader,
    blank,
    checked_token_map,
    look_up,
    refuse_negative,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from engram_client.hashing.history import NgramHistory, NgramWindow


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySpec:
    """What the study implementation's hash is made from, checked on creation as `HashSpec` is."""

    table_size: int
    """Rows of one head's table, exactly."""
    layer_ids: tuple[int, ...] = (0,)
    """The layers with a table, 0-based; all hash alike."""
    min_ngram: int = 2
    max_ngram: int = 4
    heads: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer_ids", tuple(whole_number("layer_ids", layer) for layer in self.layer_ids))
        for name in ("table_size", "min_ngram", "max_ngram", "heads"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        check_layer_ids(self.layer_ids)
        check_at_least(1, min_ngram=self.min_ngram, heads=self.heads)
        if self.max_ngram < self.min_ngram:
            raise ValueError(f"max_ngram must be at least min_ngram {self.min_ngram}, got {self.max_ngram}")
        if not 1 <= self.table_size <= MAX_VOCAB_SIZE:
            raise ValueError(f"table_size must lie between 1 and {MAX_VOCAB_SIZE}, got {self.table_size}")


class StudyHasher(RowHasher):
    """Turns token ids into row numbers of each layer's table.

    Head k of order n hashes compressed ids g_0 (oldest) to g_(n-1) to ((sum of g_i * bases[k]**i) mod moduli[k]) mod
    table_size. The published program has a table of its own for each order and head; here they lie one behind the
    other, all heads of the lowest order, then of the next, so row = column * table_size + index. `indices` gives the
    published numbers. Readings taken:

    - What cannot be seen is the *compressed* id 0: ids are compressed first and padded then.
    - The published program knows neither masks nor packed documents. They work as in the engram family, with 0 for
      what cannot be seen.
    - Negative ids mean nothing and are refused, unless they take no part.

    Args:
        spec: the parameters of the model's hash.
        token_map: integers (vocabulary,), token id to compressed id, none negative.

    Attributes are those of `NgramHasher`, with `bases` and `moduli`, int64 (heads,), in place of the primes and
    multipliers.
    """

    family = "study"

    def __init__(self, spec: StudySpec, token_map: ArrayLike) -> None:
        self.spec = spec
        self.token_map = checked_token_map(token_map)
        self.layer_ids, self.orders = spec.layer_ids, range(spec.min_ngram, spec.max_ngram + 1)
        self.columns = len(self.orders) * spec.heads
        self.bases = _frozen([_first_prime(100 * head + 31) for head in range(spec.heads)])
        self.moduli = _frozen([_first_prime(spec.table_size + 1000 * head) for head in range(spec.heads)])
        offsets = _frozen([column * spec.table_size for column in range(self.columns)])
        self.offsets = dict.fromkeys(spec.layer_ids, offsets)
        self.num_rows = dict.fromkeys(spec.layer_ids, self.columns * spec.table_size)
        self.order_hashes = self._order_hashes(offsets)
        self._token_map_sha256 = token_map_sha256(self.token_map)
        self.reader = TokenReader(
            past=spec.max_ngram - 1,
            pad_id=0,
            made_by=f"the study family of {spec} with token map {self._token_map_sha256[:12]}",
            read=self._read,
        )

    def indices(
        self,
        token_ids: ArrayLike,
        mask: ArrayLike | None = None,
        sequence_ids: ArrayLike | None = None,
        history: NgramHistory | None = None,
    ) -> dict[int, NDArray[np.int64]]:
        """Return for each order the indices (batch, seq, heads) into each head's own table, as published."""
        layer = self.layer_ids[0]
        return local_indices(self, self.rows(token_ids, layer, mask, sequence_ids, history), layer)

    def _rows(self, window: NgramWindow, layer: int) -> NDArray[np.int64]:  # noqa: ARG002  all layers hash alike
        return polynomial_rows(window, self.order_hashes)

    def _facts(self, layer: int) -> dict[str, Any]:
        return {
            "bases": self.bases.tolist(),
            "heads": self.spec.heads,
            "layer": layer,
            "max_ngram": self.spec.max_ngram,
            "min_ngram": self.spec.min_ngram,
            "moduli": self.moduli.tolist(),
            "table_size": self.spec.table_size,
            "token_map_sha256": self._token_map_sha256,
        }

    def _read(self, ids: NDArray[np.integer], takes_part: NDArray[np.bool_] | None) -> ReadTokens:
        ids = blank(ids, takes_part)
        refuse_negative(ids)
        return ReadTokens(look_up(ids, self.token_map), takes_part)

    def _order_hashes(self, offsets: NDArray[np.int64]) -> tuple[OrderHash, ...]:
        """Return the orders' parameters; powers that do not fit into 64 bits are refused."""
        heads, sizes = self.spec.heads, np.full(self.spec.heads, self.spec.table_size)
        largest_id, largest_base = max(1, int(self.token_map.max())), int(self.bases[-1])
        if largest_id * largest_base ** (self.spec.max_ngram - 1) >= 2**63:
            raise ValueError(
                f"max_ngram must leave {largest_base}**(max_ngram - 1) times the largest compressed id {largest_id} "
                f"below {2**63}, got {self.spec.max_ngram}"
            )
        hashes = []
        for number, order in enumerate(self.orders):
            weights = np.array([self.bases**power for power in reversed(range(order))], dtype=np.int64)
            of_order = offsets[number * heads : (number + 1) * heads]
            hashes.append(OrderHash(weights, self.moduli, sizes, of_order))
        check_sums(tuple(hashes), largest_id)
        return tuple(hashes)


def _first_prime(number: int) -> int:
    while not is_prime(number):
        number += 1
    return number


def _frozen(numbers: list[int]) -> NDArray[np.int64]:
    array = np.array(numbers, dtype=np.int64)
    array.setflags(write=False)
    return array
