"""The parameters that turn token ids into row numbers."""

from __future__ import annotations

from dataclasses import dataclass
from operator import index
from typing import SupportsIndex

# Generous, and small enough that any sum of table sizes fits into int64 and primality stays decidable.
MAX_VOCAB_SIZE = 2**40


@dataclass(frozen=True, slots=True, kw_only=True)
class HashSpec:
    """What the hash of one model is made from, checked on creation.

    Sequences of integers may come as any iterable and are kept as tuples. A value outside its limits raises
    ValueError, one that is not an integer TypeError.
    """

    layer_ids: tuple[int, ...]
    """The layers with a table, 0-based, in the order in which the model hands out primes: the order matters."""
    max_ngram: int
    """The highest order N; n-grams of 2 to N tokens are looked up."""
    heads: int
    """Tables per order."""
    vocab_sizes: tuple[int, ...]
    """Nominal rows of one head's table, one number for each order from 2 to N."""
    pad_id: int
    """The raw (not compressed) id that stands before the first token of a sequence."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_ngram", "heads", "pad_id", "seed"):
            object.__setattr__(self, name, _whole_number(name, getattr(self, name)))
        for name in ("layer_ids", "vocab_sizes"):
            object.__setattr__(self, name, tuple(_whole_number(name, value) for value in getattr(self, name)))
        self._check_layers()
        self._check_orders()
        if self.pad_id < 0:
            raise ValueError(f"pad_id must be a token id, not negative, got {self.pad_id}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")

    def _check_layers(self) -> None:
        if not self.layer_ids:
            raise ValueError("layer_ids must name at least one layer, got none")
        if min(self.layer_ids) < 0:
            raise ValueError(f"layer_ids count from 0, got {min(self.layer_ids)} in {self.layer_ids}")
        if len(set(self.layer_ids)) != len(self.layer_ids):
            raise ValueError(f"layer_ids must be distinct, got {self.layer_ids}")

    def _check_orders(self) -> None:
        if self.max_ngram < 2:
            raise ValueError(f"max_ngram must be at least 2, got {self.max_ngram}")
        if self.heads < 1:
            raise ValueError(f"heads must be at least 1, got {self.heads}")
        if len(self.vocab_sizes) != self.max_ngram - 1:
            raise ValueError(
                f"vocab_sizes must hold one number for each order from 2 to {self.max_ngram}, "
                f"that is {self.max_ngram - 1}, got {len(self.vocab_sizes)}: {self.vocab_sizes}"
            )
        for size in self.vocab_sizes:
            if not 1 <= size <= MAX_VOCAB_SIZE:
                raise ValueError(f"vocab_sizes must lie between 1 and {MAX_VOCAB_SIZE}, got {size}")


def _whole_number(name: str, value: SupportsIndex) -> int:
    try:
        return index(value)
    except TypeError as error:
        raise TypeError(f"{name} must be made of integers, got {value!r}") from error
