"""How large the model is, and what it is given to do."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engram_model import EngramConfig

ROW_FORMAT, ROW_BYTES = "float8_e4m3+e8m0/32", 264


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A decoder whose Engram layers are DeepSeek-V4.1-Flash's but for the width of the model and the rows they have.

    Each token reads 24 rows of 264 bytes a layer. The tables are larger than a processor's cache, and small enough to
    be made in seconds: neither the time that hashing takes nor that of a gather from memory depends on more.
    """

    num_blocks: int = 12
    hidden_dim: int = 512
    num_heads: int = 8
    layer_ids: tuple[int, ...] = (1, 8)
    vocab_size: int = 129_280
    rows_per_column: int = 20_000
    prefill_tokens: int = 512
    decode_sequences: int = 8
    context_tokens: int = 128
    """Before the first decode step. The shorter, the less there is to hide a fetch behind."""
    decode_steps: int = 16
    """In a round; the time of a round is that of all of them."""

    @property
    def config(self) -> EngramConfig:
        """The Engram layers."""
        return replace(
            EngramConfig.deepseek_v41_flash(),
            vocab_size=self.vocab_size,
            compressed_vocab_size=None,
            embedding_table_size=self.rows_per_column,
            hidden_dim=self.hidden_dim,
            layer_ids=self.layer_ids,
        )


FULL = Size()
# For tests: the same shape with next to no work in it.
TINY = Size(
    num_blocks=3,
    hidden_dim=16,
    num_heads=2,
    layer_ids=(1, 2),
    vocab_size=500,
    rows_per_column=50,
    prefill_tokens=16,
    decode_sequences=2,
    context_tokens=8,
    decode_steps=3,
)
