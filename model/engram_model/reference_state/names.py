"""What a family of reference states looks like, and which of a layer's own tensors it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceNames:
    """The tensors of one family for one layer."""

    family: str
    """Who gave the names, for messages."""
    weights: Mapping[str, Shape]
    """Tensors that must be there."""
    table: Mapping[str, Shape]
    """Tensors of the table: all of them are there, or none."""
    constants: Mapping[str, list[int]] = field(default_factory=dict)
    """Numbers of the hash that must be these if they are there."""
    own_tensors: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    """Turns a state that fits into tensors by the layer's own names."""
