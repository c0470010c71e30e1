"""The demo's decoder, twice: with its rows in the memory store, and with the same weights and tables in process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from engram_model import EngramConfig, TransformerWithEngram
    from engram_model.store_memory import StoreTable

NUM_BLOCKS: Final = 8
_LAYERS: Final = (1, 6)
_NUM_HEADS: Final = 8
_SEED: Final = 2026


def demo_config(vocab_size: int, min_rows: int) -> EngramConfig:
    """Return settings like those of DeepSeek's demonstration program, narrower; tables have `min_rows` rows or more."""
    from engram_model import EngramConfig

    max_n, heads = 3, 8
    return EngramConfig(
        vocab_size=vocab_size,
        max_n=max_n,
        num_hash_heads=heads,
        embedding_table_size=-(-min_rows // ((max_n - 1) * heads)),  # a head has a prime of rows, from this size on
        embedding_dim=32,
        hidden_dim=512,
        layer_ids=_LAYERS,
    )


def store_model(
    config: EngramConfig, token_map: NDArray[np.int64], tables: Mapping[int, StoreTable]
) -> TransformerWithEngram:
    """Return a model with seeded random weights that reads its rows from a memory store."""
    import torch

    from engram_model import TransformerWithEngram

    torch.manual_seed(_SEED)
    return TransformerWithEngram(
        config, num_blocks=NUM_BLOCKS, num_heads=_NUM_HEADS, memories=tables, token_map=token_map
    )


def local_model(
    model: TransformerWithEngram,
    config: EngramConfig,
    token_map: NDArray[np.int64],
    tables: Mapping[int, NDArray[np.float32]],
) -> TransformerWithEngram:
    """Return a second model with the weights of `model`, the very same tensors, and tables (num_rows, width) inside."""
    import torch

    from engram_model import TransformerWithEngram

    local = TransformerWithEngram(config, num_blocks=NUM_BLOCKS, num_heads=_NUM_HEADS, token_map=token_map)
    inside = {f"engrams.{layer}.memory.table.weight": torch.from_numpy(table) for layer, table in tables.items()}
    local.load_state_dict({**model.state_dict(), **inside}, assign=True)
    return local
