"""The names, types and shapes that a checkpoint has."""

from __future__ import annotations

from typing import Final

CONFIG: Final = "config.json"
INDEX: Final = "model.safetensors.index.json"
TOKENIZER: Final = "tokenizer.json"
ROW_FORMAT: Final = "float8_e4m3+e8m0/32"
COLUMNS_A_SCALE: Final = 32
WEIGHT_DTYPE, SCALE_DTYPE = "F8_E4M3", "F8_E8M0"


def weight_name(layer: int) -> str:
    """Return the name of a layer's table, E4M3 (num_rows, head_dim)."""
    return f"layers.{layer}.engram.embed.weight"


def scale_name(layer: int) -> str:
    """Return the name of the scales of a layer's table, E8M0 (num_rows, head_dim / 32)."""
    return f"layers.{layer}.engram.embed.scale"
