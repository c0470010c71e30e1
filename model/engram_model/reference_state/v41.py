"""The names of DeepSeek-V4.1: keys and value in one matrix, weights in float8 with a power of two for each block."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engram_client.formats import E8M0_VALUES
from engram_model.reference_state.names import NUMBERS, ReferenceNames, Shape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engram_model.module import EngramModule

WEIGHT_DTYPES = (str(torch.float8_e4m3fn), *NUMBERS)
E8M0_DTYPES = ("torch.float8_e8m0fnu", "torch.uint8")  # the first came with torch 2.7
BLOCK_SIDE = 32  # wkv has a scale for 32 x 32 weights, the table one for 32 columns of a row


def v41_names(module: EngramModule, state: Mapping[str, Tensor]) -> ReferenceNames:
    """Return the tensors of a layer like this one in a checkpoint of DeepSeek-V4.1.

    Float8 tensors come with their scales, as float8_e8m0fnu or as bytes; tensors of another type have none.
    """
    config = module.config
    branches = (config.num_branches, config.hidden_dim)
    wkv_shape = ((config.num_branches + 1) * config.hidden_dim, config.memory_dim)
    num_rows = config.padded(module.hasher.num_rows[module.layer_id])
    return ReferenceNames(
        family="DeepSeek-V4.1",
        weights={
            "q_weight": branches,
            "k_weight": branches,
            **_scaled(state, "wkv", wkv_shape, (BLOCK_SIDE, BLOCK_SIDE)),
        },
        table=_scaled(state, "embed", (num_rows, config.embedding_dim), (1, BLOCK_SIDE)),
        dtypes={
            **dict.fromkeys(("wkv.weight", "embed.weight"), WEIGHT_DTYPES),
            **dict.fromkeys(("wkv.scale", "embed.scale"), E8M0_DTYPES),
        },
        own_tensors=partial(_own_tensors, config.num_branches * config.hidden_dim),
    )


def _scaled(state: Mapping[str, Tensor], name: str, shape: Shape, block: Shape) -> dict[str, Shape]:
    weight = state.get(f"{name}.weight")
    shapes = {f"{name}.weight": shape}
    if weight is not None and weight.dtype == torch.float8_e4m3fn:
        shapes[f"{name}.scale"] = tuple(-(-size // side) for size, side in zip(shape, block, strict=True))
    return shapes


def _own_tensors(key_rows: int, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    wkv = _dequantized(state, "wkv", (BLOCK_SIDE, BLOCK_SIDE))
    tensors = {
        "gate.key_proj.weight": wkv[:key_rows],
        "value_proj.weight": wkv[key_rows:],
        "gate.key_norm_weight": state["k_weight"],
        "gate.query_norm_weight": state["q_weight"],
    }
    if "embed.weight" in state:
        tensors["memory.table.weight"] = _dequantized(state, "embed", (1, BLOCK_SIDE))
    return tensors


def _dequantized(state: Mapping[str, Tensor], name: str, block: Shape) -> Tensor:
    weight = state[f"{name}.weight"]
    if weight.dtype != torch.float8_e4m3fn:
        return weight
    rows, columns = weight.shape
    exponents = state[f"{name}.scale"].view(torch.uint8).to(torch.int32)
    scales = torch.from_numpy(E8M0_VALUES).to(weight.device)[exponents]
    scales = scales.repeat_interleave(block[0], dim=0)[:rows].repeat_interleave(block[1], dim=1)[:, :columns]
    return weight.to(torch.float32).mul_(scales)
