"""What a family of reference states looks like, and which of a layer's own tensors it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

Shape = tuple[int, ...]

NUMBERS = tuple(str(dtype) for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16))
"""Data types whose values are weights as they stand; types go by name, as not every torch has all of them."""


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
    dtypes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Data types, by name, of the tensors that may be of others than `NUMBERS`."""
    own_tensors: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    """Turns a state that fits into tensors by the layer's own names."""
