"""The settings of an Engram layer: every way in which the families differ is a field here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from engram_client.hashing import HashSpec
from engram_model import config_checks

GIBIBYTE = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class EngramConfig:
    """What one model's Engram layers are made from, checked on creation; fit for `dataclasses.replace`.

    The defaults are those of DeepSeek's demonstration program, whose hash is used as well. Sequences are kept as
    tuples. A value outside its limits raises ValueError, which names the field, the limit and the value.
    """

    vocab_size: int
    """Raw token ids of the model; without a token map each of them stands for itself."""
    compressed_vocab_size: int | None = None
    """Compressed ids that the token map must reach, which is then needed; None takes any map, or none."""
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
    """The lowest n-gram order; the official hash knows no other than 2."""
    layer_ids: tuple[int, ...] = (1, 15)
    """The blocks that have an Engram layer before them, 0-based, in the order in which primes are handed out."""
    num_branches: int = 1
    """Residual streams M of the backbone; each has a gate of its own."""
    pad_id: int = 2
    """The raw id that stands before the first token of a sequence."""
    seed: int = 0
    """What the hash's multipliers are drawn from, together with the layer; of the official hash only."""

    hash_family: Literal["engram", "study"] = "engram"
    """The official hash, or the study implementation's polynomial: exact table sizes, no seed, padding with 0."""
    masked_tokens_are_dead: bool = False
    """Whether a masked token also leaves the n-grams of its neighbours (V4.1), not only its own gate (DEMO)."""
    row_multiple: int = 1
    """A table is padded to a multiple of so many rows; those behind the hash's are never read."""
    table_init_std: float = 1.0
    """Standard deviation of the numbers that a local table starts with."""

    combine: Literal["concatenate", "sum"] = "concatenate"
    """What is projected: a token's rows side by side, or the sum of all of them (academic)."""
    gate: Literal["product", "linear"] = "product"
    """The normalised product of hidden state and key, or a linear layer over hidden state and memory (academic)."""
    bias: bool = True
    """Whether the projections have a bias."""
    signed_sqrt: bool = True
    """Whether the gate's score goes through a signed square root: in the code of DEMO and V4.1, not in the paper."""
    sign_of_zero: Literal[0, 1] = 0
    """The sign that the root gives to a score of exactly 0: 0 opens the gate to 0.5 (DEMO), 1 to 0.50025 (V4.1)."""
    gate_norm_weights: bool = True
    """Whether the gate's RMS norms have weights."""
    gate_norm_eps: float | None = None
    """Epsilon of the gate's RMS norms; None is the machine epsilon of the type computed in, float32 or float64."""
    conv_kernel_size: int | None = 4
    """Taps of the short convolution; None leaves the convolution out (V4.1)."""
    conv_dilation: int | None = None
    """Tokens between two taps; None is `max_n`."""
    conv_norm_eps: float = 1e-5
    """Epsilon of the convolution's RMS norm."""
    conv_init_std: float | None = None
    """Standard deviation of the taps at the start, 0 for none at all; None starts them as PyTorch does."""

    max_local_bytes: int = 4 * GIBIBYTE
    """The largest table that a module holds itself, in bytes."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer_ids", config_checks.as_tuple("layer_ids", self.layer_ids))
        if not isinstance(self.embedding_table_size, int):
            sizes = config_checks.as_tuple("embedding_table_size", self.embedding_table_size)
            object.__setattr__(self, "embedding_table_size", sizes)
        config_checks.check(self)

    @classmethod
    def official_demo(cls) -> EngramConfig:
        """The configuration of DeepSeek's demonstration program (its EngramConfig and BackBoneConfig).

        Its `vocab_size` is that of the backbone; with the token map of a tokenizer of fewer ids, replace it by theirs.
        Layers 1 and 15 have 10,344,164 and 10,348,242 rows of 64 numbers; a token reads 16 of them.
        """
        return cls(
            vocab_size=129_280,
            max_n=3,
            num_hash_heads=8,
            embedding_table_size=(646_400, 646_400),
            embedding_dim=64,
            hidden_dim=1024,
            num_branches=4,
        )

    @classmethod
    def paper_27b(cls) -> EngramConfig:
        """Engram-27B of the paper (arXiv 2601.07372, table 5): 5.79 billion parameters of memory.

        Its layers 2 and 15 count from 1, here they are 1 and 14; the gate is equation 4, which has no signed square
        root, and the convolution starts at zero. A token reads 16 rows of 80 numbers a layer.
        """
        return cls(
            vocab_size=129_280,
            max_n=3,
            num_hash_heads=8,
            embedding_table_size=2_262_400,
            embedding_dim=80,
            hidden_dim=2560,
            layer_ids=(1, 14),
            num_branches=4,
            signed_sqrt=False,
            conv_init_std=0.0,
        )

    @classmethod
    def paper_40b(cls) -> EngramConfig:
        """Engram-40B of the paper (table 5): Engram-27B with 18.53 billion parameters of memory."""
        return replace(cls.paper_27b(), embedding_table_size=7_239_680)

    @classmethod
    def deepseek_v41_flash(cls) -> EngramConfig:
        """DeepSeek-V4.1-Flash, as its `config.json` says: 196.6 billion parameters of memory, no bias, no convolution.

        Layers 1 and 14 have 384,006,168 and 384,016,682 rows of 256 numbers; a token reads 24 of them. The hash needs
        the compressed vocabulary of its tokenizer, 129,280 ids to 99,092, as `token_map`; for experiments without it,
        replace `compressed_vocab_size` by None.
        """
        return cls(
            vocab_size=129_280,
            compressed_vocab_size=99_092,
            max_n=4,
            num_hash_heads=8,
            embedding_table_size=16_000_000,
            embedding_dim=256,
            hidden_dim=5120,
            layer_ids=(1, 14),
            num_branches=4,
            masked_tokens_are_dead=True,
            bias=False,
            sign_of_zero=1,
            gate_norm_eps=1e-20,
            conv_kernel_size=None,
        )

    @classmethod
    def academic(cls) -> EngramConfig:
        """The academic note's form, in the demonstration program's sizes: one sum, one linear gate, one projection.

        The rows of all heads and orders are summed, the gate is sigmoid(W [h; e]); one branch, no bias, no convolution.
        """
        return replace(
            cls.official_demo(), num_branches=1, combine="sum", gate="linear", bias=False, conv_kernel_size=None
        )

    @classmethod
    def study(
        cls,
        *,
        vocab_size: int = 100_000,
        min_n: int = 2,
        max_n: int = 4,
        num_hash_heads: int = 4,
        embedding_table_size: int = 1_000_000,
        embedding_dim: int = 64,
        hidden_dim: int = 2048,
    ) -> EngramConfig:
        """The study implementation's form: a table of exactly `embedding_table_size` rows for each order and head.

        A polynomial hash, the same for every layer; no signed root, no norm weights in the gate, no bias; a kernel of 3
        without dilation. The defaults are that program's.
        """
        return cls(
            vocab_size=vocab_size,
            min_n=min_n,
            max_n=max_n,
            num_hash_heads=num_hash_heads,
            embedding_table_size=embedding_table_size,
            embedding_dim=embedding_dim,
            hidden_dim=hidden_dim,
            layer_ids=(1,),
            pad_id=0,
            hash_family="study",
            table_init_std=0.02,
            bias=False,
            signed_sqrt=False,
            gate_norm_weights=False,
            gate_norm_eps=1e-6,
            conv_kernel_size=3,
            conv_dilation=1,
            conv_norm_eps=1e-6,
            conv_init_std=0.02,
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
    def projected_dim(self) -> int:
        """Width E of what is projected: the whole memory embedding, or one row if rows are summed."""
        return self.memory_dim if self.combine == "concatenate" else self.embedding_dim

    @property
    def dilation(self) -> int:
        """Tokens between two taps of the short convolution."""
        return self.max_n if self.conv_dilation is None else self.conv_dilation

    @property
    def hash_spec(self) -> HashSpec:
        """The parameters of the official hash; ValueError if the configuration is for another."""
        if self.hash_family != "engram":
            raise ValueError(f"hash_spec is for the official hash, hash_family is {self.hash_family!r}")
        return HashSpec(
            layer_ids=self.layer_ids,
            max_ngram=self.max_n,
            heads=self.num_hash_heads,
            vocab_sizes=self.table_sizes,
            pad_id=self.pad_id,
            seed=self.seed,
        )

    def padded(self, num_rows: int) -> int:
        """Return the rows of a table of which the hash reaches `num_rows`."""
        return -(-num_rows // self.row_multiple) * self.row_multiple
