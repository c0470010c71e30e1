"""The names of the study implementation's module: a table for each order and head, one branch."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from engram_client.hashing import StudyHasher
from engram_model.reference_state.demo import taps_of
from engram_model.reference_state.names import ReferenceNames

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from engram_model.config import EngramConfig
    from engram_model.module import EngramModule


def study_names(module: EngramModule, state: Mapping[str, Tensor]) -> ReferenceNames:  # noqa: ARG001  as the others
    """Return the tensors that the study module saves for a layer like this one.

    The weight of the gate's norm is saved there, but not used by the module.
    """
    config, hasher = module.config, module.hasher
    if config.num_branches != 1:
        raise ValueError(f"the names of the study module are for a layer of one branch, got {config.num_branches}")
    width, memory_dim = config.hidden_dim, config.memory_dim
    constants = {}
    if isinstance(hasher, StudyHasher):
        constants = {"hasher.hash_bases": hasher.bases.tolist(), "hasher.hash_moduli": hasher.moduli.tolist()}
    return ReferenceNames(
        family="the study module",
        weights={
            "gating.W_K.0.weight": (width, memory_dim),
            "gating.W_V.weight": (width, memory_dim),
            "gating.norm.weight": (width,),
            "fusion.norm.weight": (width,),
            "fusion.conv.conv.weight": (width, 1, config.conv_kernel_size or 1),
        },
        table=dict.fromkeys(_table_names(config), (config.table_sizes[0], config.embedding_dim)),
        constants=constants,
        own_tensors=partial(_own_tensors, config),
    )


def _own_tensors(config: EngramConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    tensors = {
        "gate.key_proj.weight": state["gating.W_K.0.weight"],
        "value_proj.weight": state["gating.W_V.weight"],
        "short_conv.norm.weight": state["fusion.norm.weight"].unsqueeze(0),
        "short_conv.taps": taps_of(state["fusion.conv.conv.weight"], config),
    }
    names = _table_names(config)
    if names[0] in state:
        tensors["memory.table.weight"] = torch.cat([state[name] for name in names])
    return tensors


def _table_names(config: EngramConfig) -> list[str]:
    """Return the names of all tables in the order of our columns."""
    orders = range(config.min_n, config.max_n + 1)
    return [
        f"embedding_table.embeddings.E_{order}_{head}.weight"
        for order in orders
        for head in range(config.num_hash_heads)
    ]
