"""What a configuration must satisfy before anything is made from it."""

from __future__ import annotations

import math
from operator import index
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engram_model.config import EngramConfig

CHOICES = {
    "hash_family": ("engram", "study"),
    "combine": ("concatenate", "sum"),
    "gate": ("product", "linear"),
    "sign_of_zero": (0, 1),
}


def check(config: EngramConfig) -> None:
    """Raise ValueError for a value outside its limits, or for two that contradict each other."""
    for name in ("vocab_size", "num_hash_heads", "embedding_dim", "hidden_dim", "num_branches", "row_multiple"):
        _check_integer(name, getattr(config, name), minimum=1)
    for name in ("pad_id", "seed", "max_local_bytes"):
        _check_integer(name, getattr(config, name), minimum=0)
    for name, choices in CHOICES.items():
        if getattr(config, name) not in choices:
            raise ValueError(f"{name} must be one of {choices}, got {getattr(config, name)!r}")
    _check_orders(config)
    _check_layers(config.layer_ids)
    _check_numbers(config)
    if config.pad_id >= config.vocab_size:
        raise ValueError(f"pad_id must be below vocab_size {config.vocab_size}, got {config.pad_id}")
    if config.compressed_vocab_size is not None:
        _check_compressed_vocab_size(config.compressed_vocab_size, config.vocab_size)
    if config.hash_family == "study":
        _check_study_hash(config)


def as_tuple(name: str, values: Iterable[int]) -> tuple[int, ...]:
    """Return integers as a tuple."""
    try:
        return tuple(index(value) for value in values)
    except TypeError as error:
        raise ValueError(f"{name} must be made of integers, got {values!r}") from error


def _check_orders(config: EngramConfig) -> None:
    _check_integer("min_n", config.min_n, minimum=1)
    if config.hash_family == "engram" and config.min_n != 2:
        raise ValueError(f"the official hash looks up orders from 2 on: min_n must be 2, got {config.min_n}")
    _check_integer("max_n", config.max_n, minimum=config.min_n)
    if len(config.table_sizes) != config.num_ngram_orders:
        raise ValueError(
            f"embedding_table_size must be one number or one for each of the {config.num_ngram_orders} orders, "
            f"got {len(config.table_sizes)}: {config.table_sizes}"
        )
    for size in config.table_sizes:
        _check_integer("embedding_table_size", size, minimum=1)


def _check_layers(layer_ids: tuple[int, ...]) -> None:
    for layer in layer_ids:
        _check_integer("layer_ids", layer, minimum=0)
    if not layer_ids or len(set(layer_ids)) != len(layer_ids):
        raise ValueError(f"layer_ids must be distinct and at least one, got {layer_ids}")


def _check_numbers(config: EngramConfig) -> None:
    for name in ("conv_kernel_size", "conv_dilation"):
        if getattr(config, name) is not None:
            _check_integer(name, getattr(config, name), minimum=1)
    for name in ("gate_norm_eps", "conv_norm_eps"):
        eps = getattr(config, name)
        if eps is not None and not 0 < eps < 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {eps}")
    for name in ("table_init_std", "conv_init_std"):
        std = getattr(config, name)
        if std is not None and not 0 <= std < math.inf:
            raise ValueError(f"{name} must be at least 0, got {std}")


def _check_compressed_vocab_size(size: int, vocab_size: int) -> None:
    _check_integer("compressed_vocab_size", size, minimum=1)
    if size > vocab_size:
        raise ValueError(
            f"compressed_vocab_size must be at most vocab_size {vocab_size}, or None for any token map, got {size}"
        )


def _check_study_hash(config: EngramConfig) -> None:
    if len(set(config.table_sizes)) != 1:
        raise ValueError(
            f"the study hash has one embedding_table_size for all orders, got {config.embedding_table_size}"
        )
    if config.pad_id or config.seed:
        raise ValueError(
            f"the study hash pads with 0 and has no seed: pad_id and seed must be 0, got {config.pad_id} and "
            f"{config.seed}"
        )


def _check_integer(name: str, value: object, *, minimum: int) -> None:
    if not isinstance(value, int) or value < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, got {value!r}")
