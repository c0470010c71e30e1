"""The n-gram hash of Qwen's per-layer embeddings (PLE): raw ids, drawn multipliers, look-back that stops at EOS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engram_client.hashing.engram import distinct_xor_rows, head_offsets, xor_rows
from engram_client.hashing.primes import head_primes
from engram_client.hashing.row_hasher import RowHasher
from engram_client.hashing.spec import MAX_VOCAB_SIZE, check_at_least, check_layer_ids, whole_number
from engram_client.hashing.token_reader import ReadTokens, TokenReader, blank, raw_ids, refuse_negative

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engram_client.hashing.distinct_rows import DistinctRows
    from engram_client.hashing.history import NgramWindow

GOLDEN_GAMMA = 0x9E3779B97F4A7C15
_MASK64 = 2**64 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class QwenPleSpec:
    """What the hash of one Qwen model is made from, checked on creation as `HashSpec` is."""

    layer_ids: tuple[int, ...]
    """The layers with a table, 0-based (`ple_layer_ids` of the model's configuration minus 1), in its order."""
    vocab_size: int
    """Raw token ids of the model; the multipliers depend on it."""
    eos_id: int
    """The id that ends a document, and that stands for everything that cannot be seen."""
    max_ngram: int = 3
    heads: int = 8
    head_rows: int = 20_000_000
    """Where the primes of the heads' tables start."""
    row_multiple: int = 128
    """A layer's table is padded to a multiple of so many rows."""
    seed: int = 1234

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer_ids", tuple(whole_number("layer_ids", layer) for layer in self.layer_ids))
        for name in ("vocab_size", "eos_id", "max_ngram", "heads", "head_rows", "row_multiple", "seed"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        check_layer_ids(self.layer_ids)
        check_at_least(2, max_ngram=self.max_ngram)
        check_at_least(1, vocab_size=self.vocab_size, heads=self.heads, row_multiple=self.row_multiple)
        check_at_least(0, seed=self.seed)
        if not 1 <= self.head_rows <= MAX_VOCAB_SIZE:
            raise ValueError(f"head_rows must lie between 1 and {MAX_VOCAB_SIZE}, got {self.head_rows}")
        if not 0 <= self.eos_id < self.vocab_size:
            raise ValueError(f"eos_id must lie between 0 and vocab_size - 1 = {self.vocab_size - 1}, got {self.eos_id}")

    @classmethod
    def flash_next(cls) -> QwenPleSpec:
        """The hash of Qwen3.8-Flash-Next: one table of 320,001,536 rows."""
        return cls(layer_ids=(1,), vocab_size=248_320, eos_id=248_044)


class QwenPleHasher(RowHasher):
    """Turns raw token ids into row numbers of each layer's table.

    Mix, heads and column order are those of the engram family; multipliers come from SplitMix64, and primes are
    consecutive over orders, heads and layers. Readings taken (they are those of the model's published code):

    - Look-back stops after the nearest EOS before the token. A token that is EOS itself still sees its own document.
    - Everything that cannot be seen is EOS: what lies before the sequence, before an EOS, in another document.
    - A token that takes no part (`mask` False, `sequence_ids` 0) is hashed as if it were EOS, so it ends a document.
    - Negative ids mean nothing and are refused, unless they take no part.

    Attributes are those of `NgramHasher`, without the token map.
    """

    family = "qwen-ple"

    def __init__(self, spec: QwenPleSpec) -> None:
        self.spec = spec
        self.layer_ids, self.orders = spec.layer_ids, range(2, spec.max_ngram + 1)
        self.columns = len(self.orders) * spec.heads
        self.multipliers = {layer: _draw_multipliers(spec, index) for index, layer in enumerate(spec.layer_ids)}
        self.primes = head_primes(spec.layer_ids, (spec.head_rows,) * len(self.orders), spec.heads)
        self.offsets = {layer: head_offsets(primes) for layer, primes in self.primes.items()}
        self.num_rows = {
            layer: -(-int(primes.sum()) // spec.row_multiple) * spec.row_multiple
            for layer, primes in self.primes.items()
        }
        self.reader = TokenReader(
            past=spec.max_ngram - 1, pad_id=spec.eos_id, made_by=f"the qwen-ple family of {spec}", read=self._read
        )

    def _rows(self, window: NgramWindow, layer: int) -> NDArray[np.int64]:
        return xor_rows(window, self.multipliers[layer], self.primes[layer], self.offsets[layer])

    def _distinct_rows(self, window: NgramWindow, layer: int) -> DistinctRows:
        return distinct_xor_rows(window, self.multipliers[layer], self.primes[layer], self.offsets[layer])

    def _facts(self, layer: int) -> dict[str, Any]:
        return {
            "eos_id": self.spec.eos_id,
            "heads": self.spec.heads,
            "layer": layer,
            "max_ngram": self.spec.max_ngram,
            "multipliers": self.multipliers[layer].tolist(),
            "num_rows": self.num_rows[layer],
            "primes": self.primes[layer].tolist(),
            "vocab_size": self.spec.vocab_size,
        }

    def _read(self, ids: NDArray[np.integer], takes_part: NDArray[np.bool_] | None) -> ReadTokens:
        ids = blank(ids, takes_part)
        refuse_negative(ids)
        tokens = raw_ids(ids, self.spec.vocab_size)
        if takes_part is not None:
            tokens = np.where(takes_part, tokens, self.spec.eos_id)
        return ReadTokens(tokens, None, ends=tokens == self.spec.eos_id)


def splitmix64(number: int) -> int:
    """Return one step of the SplitMix64 generator from a 64-bit state (Steele, Lea and Flood, 2014)."""
    number = (number + GOLDEN_GAMMA) & _MASK64
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK64
    return number ^ (number >> 31)


def _draw_multipliers(spec: QwenPleSpec, ple_index: int) -> NDArray[np.int64]:
    """Draw a layer's odd multipliers: no product with a raw id leaves int64."""
    half = max(1, (2**63 - 1) // spec.vocab_size // 2)
    seed = spec.seed + 10007 * ple_index
    drawn = [splitmix64((seed + GOLDEN_GAMMA * (k + 1)) & _MASK64) for k in range(spec.max_ngram)]
    multipliers = np.array([2 * (number % half) + 1 for number in drawn], dtype=np.int64)
    multipliers.setflags(write=False)
    return multipliers
