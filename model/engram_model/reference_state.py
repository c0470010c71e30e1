"""Weights of the reference programs: which of their tensors is which part of an Engram layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engram_model.local_memory import LocalMemory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engram_model.module import EngramModule

TABLE = "multi_head_embedding.embedding.weight"
OFFSETS = "multi_head_embedding.offsets"


@torch.no_grad()
def load_demo_state(module: EngramModule, state: Mapping[str, Tensor]) -> None:
    """Copy the tensors of DeepSeek's demonstration program into the module, all of them or, on an error, none.

    Raises:
        ValueError: names are missing or unknown, a tensor has another shape, or the offsets are not this layer's.
    """
    targets = demo_targets(module)
    _check_names(state, required=set(targets), optional={TABLE, OFFSETS})
    if isinstance(module.memory, LocalMemory) and TABLE in state:
        targets[TABLE] = module.memory.table.weight
    for name, target in targets.items():
        if state[name].shape != target.shape:
            raise ValueError(f"{name} must be of shape {tuple(target.shape)}, got {tuple(state[name].shape)}")
    if OFFSETS in state:
        _check_offsets(state[OFFSETS], module)
    for name, target in targets.items():
        target.copy_(state[name])


def demo_targets(module: EngramModule) -> dict[str, Tensor]:
    """Return, by DEMO's name, the parameter or the part of one that a tensor of that name goes into."""
    gate, width = module.gate, module.config.hidden_dim
    targets = {"value_proj.weight": module.value_proj.weight}
    for branch in range(module.config.num_branches):
        rows = slice(branch * width, (branch + 1) * width)
        targets[f"key_projs.{branch}.weight"] = gate.key_proj.weight[rows]
        targets[f"norm1.{branch}.weight"] = gate.key_norm.weight[branch]
        targets[f"norm2.{branch}.weight"] = gate.query_norm.weight[branch]
        if module.config.bias:
            targets[f"key_projs.{branch}.bias"] = gate.key_proj.bias[rows]
        if module.short_conv is not None:
            targets[f"short_conv.norms.{branch}.weight"] = module.short_conv.norm.weight[branch]
    if module.config.bias:
        targets["value_proj.bias"] = module.value_proj.bias
    if module.short_conv is not None:
        targets["short_conv.conv.weight"] = module.short_conv.conv.weight
    return targets


def _check_names(state: Mapping[str, Tensor], *, required: set[str], optional: set[str]) -> None:
    missing = sorted(required - state.keys())
    unknown = sorted(state.keys() - required - optional)
    if missing or unknown:
        raise ValueError(f"names of the reference state: missing {missing}, unknown {unknown}")


def _check_offsets(offsets: Tensor, module: EngramModule) -> None:
    expected = module.hasher.offsets[module.layer_id].tolist()
    if offsets.tolist() != expected:
        raise ValueError(f"layer {module.layer_id} hashes with offsets {expected}, {OFFSETS} are {offsets.tolist()}")
