"""Weights of published models by their own names: checked first, then copied into a layer, all of them or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engram_model.local_memory import LocalMemory
from engram_model.reference_state.demo import demo_names
from engram_model.reference_state.names import NUMBERS
from engram_model.reference_state.study import study_names
from engram_model.reference_state.v41 import v41_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engram_model.module import EngramModule
    from engram_model.reference_state.names import ReferenceNames

OWN_TABLE = "memory.table.weight"
FAMILIES = {  # what the names of a family begin with, up to the first dot
    v41_names: ("wkv", "q_weight", "k_weight", "embed"),
    study_names: ("gating", "fusion", "embedding_table", "hasher"),
    demo_names: ("value_proj", "key_projs", "norm1", "norm2", "short_conv", "multi_head_embedding"),
}


@torch.no_grad()
def load_reference_state(module: EngramModule, state: Mapping[str, Tensor]) -> None:
    """Copy tensors that go by the names of DEMO, V4.1 or the study module into a layer; errors as for the layer's."""
    _check_are_tensors(state)
    names = _names_in(state)(module, state)
    _check_dtypes(state, names)
    _check_names(state, names)
    _check_shapes(state, names)
    _check_constants(state, names)
    tensors = names.own_tensors(state)
    targets: dict[str, Tensor] = {
        name: weight for name, weight in module.named_parameters() if not name.startswith("memory.")
    }
    if tensors.keys() - {OWN_TABLE} != targets.keys():
        places, others = sorted(tensors.keys() - {OWN_TABLE}), sorted(targets)
        raise ValueError(f"the names of {names.family} are for a layer of {places}, this one has {others}")
    if OWN_TABLE in tensors and isinstance(module.memory, LocalMemory):
        targets[OWN_TABLE] = module.memory.table.weight
    for name, target in targets.items():
        target.copy_(tensors[name])


def _names_in(state: Mapping[str, Tensor]) -> _NamesOf:
    """Return the family that most of the names belong to; the others are unknown to it."""
    first_parts = [name.partition(".")[0] for name in state]
    known = {names_of: sum(part in parts for part in first_parts) for names_of, parts in FAMILIES.items()}
    if not any(known.values()):
        raise ValueError(
            "the reference state has no name of the demonstration program, DeepSeek-V4.1 or the study module, "
            f"without a prefix; got {sorted(state)}"
        )
    return max(known, key=lambda names_of: known[names_of])


def _check_are_tensors(state: Mapping[str, Tensor]) -> None:
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")


def _check_dtypes(state: Mapping[str, Tensor], names: ReferenceNames) -> None:
    """Refuse bytes that would be taken for the numbers that they encode."""
    for name in [*names.weights, *names.table]:
        expected = names.dtypes.get(name, NUMBERS)
        if name in state and str(state[name].dtype) not in expected:
            raise ValueError(f"{name} must be one of {expected}, got {state[name].dtype}")


def _check_names(state: Mapping[str, Tensor], names: ReferenceNames) -> None:
    required = names.weights.keys() | (names.table.keys() if names.table.keys() & state.keys() else set())
    missing = sorted(required - state.keys())
    unknown = sorted(state.keys() - required - names.constants.keys())
    if missing or unknown:
        raise ValueError(f"names of {names.family} in the reference state: missing {missing}, unknown {unknown}")


def _check_shapes(state: Mapping[str, Tensor], names: ReferenceNames) -> None:
    for name, shape in {**names.weights, **names.table}.items():
        if name in state and tuple(state[name].shape) != shape:
            raise ValueError(f"{name} must be of shape {shape}, got {tuple(state[name].shape)}")


def _check_constants(state: Mapping[str, Tensor], names: ReferenceNames) -> None:
    for name, expected in names.constants.items():
        if name in state and state[name].tolist() != expected:
            raise ValueError(f"{name} must be {expected}, as this layer hashes, got {state[name].tolist()}")


if TYPE_CHECKING:
    from collections.abc import Callable

    _NamesOf = Callable[[EngramModule, Mapping[str, Tensor]], ReferenceNames]
