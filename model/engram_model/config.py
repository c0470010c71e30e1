"""The settings of an Engram layer: every way in which the families differ is a field here."""

from __future__ import annotations

from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING, Literal

from engram_client.hashing import HashSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

GIBIBYTE = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class EngramConfig:
    """What one model's Engram layers are made from, checked on creation; fit for `dataclasses.replace`.

    The defaults are those of DeepSeek's demonstration program, whose hash is used as well. Sequences are kept as
    tuples. A value outside its limits raises ValueError, which names the field, the limit and the value.
    """

    vocab_size: int
    """Raw token ids of the model; without a token map each of them stands for itself."""
    max_n: int
    """The highest n-gram order; n-grams of `min_n` to `max_n` tokens are looked up."""
    num_hash_heads: int
    """Tables per order."""
    embedding_table_size: int | tuple[int, ...]
    """Nominal rows of one head's table, for all orders or one number per order: the primes start there."""
    embedding_dim: int
    """Width D of one head's row."""
    hidden_dim: int
    """Width H of a hidden state."""
    min_n: int = 2
    layer_ids: tuple[int, ...] = (1, 15)
    """The blocks that have an Engram layer before them, 0-based, in the order in which primes are handed out."""
    num_branches: int = 1
    """Residual streams M of the backbone; each has a gate of its own."""
    pad_id: int = 2
    """The raw id that stands before the first token of a sequence."""
    seed: int = 0

    masked_tokens_are_dead: bool = False
    """Whether a masked token also leaves the n-grams of its neighbours (V4.1), not only its own gate (DEMO)."""
    bias: bool = True
    """Whether the key and value projections have a bias."""
    signed_sqrt: bool = True
    """Whether the gate's score goes through a signed square root: in the code of DEMO and V4.1, not in the paper."""
    sign_of_zero: Literal[0, 1] = 0
    """The sign that the root gives to a score of exactly 0: 0 opens the gate to 0.5 (DEMO), 1 to 0.50025 (V4.1)."""
    gate_norm_eps: float | None = None
    """Epsilon of the gate's RMS norms; None is the machine epsilon of the data type."""
    conv_kernel_size: int | None = 4
    """Taps of the short convolution; None leaves the convolution out (V4.1)."""
    conv_dilation: int | None = None
    """Tokens between two taps; None is `max_n`."""
    conv_norm_eps: float = 1e-5

    max_local_bytes: int = 4 * GIBIBYTE
    """The largest table that a module holds itself."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer_ids", _as_tuple("layer_ids", self.layer_ids))
        if not isinstance(self.embedding_table_size, int):
            sizes = _as_tuple("embedding_table_size", self.embedding_table_size)
            object.__setattr__(self, "embedding_table_size", sizes)
        for name in ("vocab_size", "num_hash_heads", "embedding_dim", "hidden_dim", "num_branches"):
            _check_integer(name, getattr(self, name), minimum=1)
        for name in ("pad_id", "seed", "max_local_bytes"):
            _check_integer(name, getattr(self, name), minimum=0)
        self._check_orders()
        self._check_layers()
        self._check_gate_and_convolution()
        if self.pad_id >= self.vocab_size:
            raise ValueError(f"pad_id must be below vocab_size {self.vocab_size}, got {self.pad_id}")

    @classmethod
    def official_demo(cls) -> EngramConfig:
        """The configuration of DeepSeek's demonstration program (its EngramConfig and BackBoneConfig)."""
        return cls(
            vocab_size=129_280,
            max_n=3,
            num_hash_heads=8,
            embedding_table_size=(646_400, 646_400),
            embedding_dim=64,
            hidden_dim=1024,
            num_branches=4,
        )

    @property
    def num_ngram_orders(self) -> int:
        """How many orders are looked up."""
        return self.max_n - self.min_n + 1

    @property
    def table_sizes(self) -> tuple[int, ...]:
        """Nominal rows of one head's table, one number per order."""
        if isinstance(self.embedding_table_size, tuple):
            return self.embedding_table_size
        return (self.embedding_table_size,) * self.num_ngram_orders

    @property
    def num_columns(self) -> int:
        """Rows that one token looks up: all heads of the lowest order, then of the next."""
        return self.num_ngram_orders * self.num_hash_heads

    @property
    def memory_dim(self) -> int:
        """Width of a token's memory embedding, its rows side by side."""
        return self.num_columns * self.embedding_dim

    @property
    def dilation(self) -> int:
        """Tokens between two taps of the short convolution."""
        return self.max_n if self.conv_dilation is None else self.conv_dilation

    @property
    def hash_spec(self) -> HashSpec:
        """The parameters that turn token ids into row numbers."""
        return HashSpec(
            layer_ids=self.layer_ids,
            max_ngram=self.max_n,
            heads=self.num_hash_heads,
            vocab_sizes=self.table_sizes,
            pad_id=self.pad_id,
            seed=self.seed,
        )

    def _check_orders(self) -> None:
        _check_integer("min_n", self.min_n, minimum=1)
        if self.min_n != 2:
            raise ValueError(f"the official hash looks up orders from 2 on: min_n must be 2, got {self.min_n}")
        _check_integer("max_n", self.max_n, minimum=self.min_n)
        if len(self.table_sizes) != self.num_ngram_orders:
            raise ValueError(
                f"embedding_table_size must be one number or one for each of the {self.num_ngram_orders} orders, "
                f"got {len(self.table_sizes)}: {self.table_sizes}"
            )
        for size in self.table_sizes:
            _check_integer("embedding_table_size", size, minimum=1)

    def _check_layers(self) -> None:
        for layer in self.layer_ids:
            _check_integer("layer_ids", layer, minimum=0)
        if not self.layer_ids or len(set(self.layer_ids)) != len(self.layer_ids):
            raise ValueError(f"layer_ids must be distinct and at least one, got {self.layer_ids}")

    def _check_gate_and_convolution(self) -> None:
        for name in ("conv_kernel_size", "conv_dilation"):
            if getattr(self, name) is not None:
                _check_integer(name, getattr(self, name), minimum=1)
        if self.sign_of_zero not in (0, 1):
            raise ValueError(f"sign_of_zero must be 0 or 1, got {self.sign_of_zero!r}")
        for name, eps in (("gate_norm_eps", self.gate_norm_eps), ("conv_norm_eps", self.conv_norm_eps)):
            if eps is not None and not 0 < eps < 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {eps}")


def _as_tuple(name: str, values: Iterable[int]) -> tuple[int, ...]:
    try:
        return tuple(index(value) for value in values)
    except TypeError as error:
        raise ValueError(f"{name} must be made of integers, got {values!r}") from error


def _check_integer(name: str, value: object, *, minimum: int) -> None:
    if not isinstance(value, int) or value < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, got {value!r}")
