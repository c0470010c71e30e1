"""The names of DeepSeek's demonstration program: a module a branch, one table for all heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from engram_model.reference_state.names import ReferenceNames, Shape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from engram_model.config import EngramConfig
    from engram_model.module import EngramModule

TABLE = "multi_head_embedding.embedding.weight"
OFFSETS = "multi_head_embedding.offsets"


def demo_names(module: EngramModule, state: Mapping[str, Tensor]) -> ReferenceNames:  # noqa: ARG001  as the others
    """Return the tensors that the demonstration program saves for a layer like this one."""
    config, hasher = module.config, module.hasher
    num_rows = config.padded(hasher.num_rows[module.layer_id])
    return ReferenceNames(
        family="the demonstration program",
        weights=_weights(config),
        table={TABLE: (num_rows, config.embedding_dim)},
        constants={OFFSETS: hasher.offsets[module.layer_id].tolist()},
        own_tensors=lambda state: _own_tensors(config, state),
    )


def _weights(config: EngramConfig) -> dict[str, Shape]:
    width, memory_dim = config.hidden_dim, config.memory_dim
    shapes: dict[str, Shape] = {"value_proj.weight": (width, memory_dim)}
    if config.bias:
        shapes["value_proj.bias"] = (width,)
    if config.conv_kernel_size is not None:
        shapes["short_conv.conv.weight"] = (config.num_branches * width, 1, config.conv_kernel_size)
    for branch in range(config.num_branches):
        shapes[f"key_projs.{branch}.weight"] = (width, memory_dim)
        shapes[f"norm1.{branch}.weight"] = shapes[f"norm2.{branch}.weight"] = (width,)
        if config.bias:
            shapes[f"key_projs.{branch}.bias"] = (width,)
        if config.conv_kernel_size is not None:
            shapes[f"short_conv.norms.{branch}.weight"] = (width,)
    return shapes


def _own_tensors(config: EngramConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    def of_branches(name: str) -> list[Tensor]:
        return [state[name.format(branch)] for branch in range(config.num_branches)]

    tensors = {
        "value_proj.weight": state["value_proj.weight"],
        "gate.key_proj.weight": torch.cat(of_branches("key_projs.{}.weight")),
        "gate.key_norm_weight": torch.stack(of_branches("norm1.{}.weight")),
        "gate.query_norm_weight": torch.stack(of_branches("norm2.{}.weight")),
    }
    if config.bias:
        tensors["value_proj.bias"] = state["value_proj.bias"]
        tensors["gate.key_proj.bias"] = torch.cat(of_branches("key_projs.{}.bias"))
    if config.conv_kernel_size is not None:
        tensors["short_conv.norm.weight"] = torch.stack(of_branches("short_conv.norms.{}.weight"))
        tensors["short_conv.taps"] = taps_of(state["short_conv.conv.weight"], config)
    if TABLE in state:
        tensors["memory.table.weight"] = state[TABLE]
    return tensors


def taps_of(conv_weight: Tensor, config: EngramConfig) -> Tensor:
    """Return the weight of a depthwise `torch.nn.Conv1d`, (M * H, 1, taps), as taps (taps, M, H)."""
    return conv_weight.reshape(config.num_branches, config.hidden_dim, -1).permute(2, 0, 1)
