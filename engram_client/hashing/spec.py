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
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        for name in ("layer_ids", "vocab_sizes"):
            object.__setattr__(self, name, tuple(whole_number(name, value) for value in getattr(self, name)))
        check_layer_ids(self.layer_ids)
        self._check_orders()
        if self.pad_id < 0:
            raise ValueError(f"pad_id must be a token id, not negative, got {self.pad_id}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")

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


def whole_number(name: str, value: SupportsIndex) -> int:
    """Return a setting as an int; what is not an integer raises TypeError."""
    try:
        return index(value)
    except TypeError as error:
        raise TypeError(f"{name} must be made of integers, got {value!r}") from error


def check_layer_ids(layer_ids: tuple[int, ...]) -> None:
    """Refuse layers that are not at least one, distinct and counted from 0."""
    if not layer_ids:
        raise ValueError("layer_ids must name at least one layer, got none")
    if min(layer_ids) < 0:
        raise ValueError(f"layer_ids count from 0, got {min(layer_ids)} in {layer_ids}")
    if len(set(layer_ids)) != len(layer_ids):
        raise ValueError(f"layer_ids must be distinct, got {layer_ids}")


def check_at_least(minimum: int, **settings: int) -> None:
    """Refuse settings below a minimum."""
    for name, value in settings.items():
        if value < minimum:
            raise ValueError(f"{name} must be at least {minimum}, got {value}")
