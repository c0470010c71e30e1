"""The academic note's layer, token by token in NumPy float64; it shares no code with the package."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def academic_layer(
    gate_weight: Array,  # (M, H + D)
    value_weight: Array,  # (H, D)
    hidden_states: Array,  # (B, T, M, H)
    rows: Array,  # (B, T, columns, D)
    mask: NDArray[np.bool_] | None = None,  # (B, T)
) -> tuple[Array, Array]:
    """Return the updated hidden states (B, T, M, H) and the gating (B, T, M)."""
    batch, length, branches, _ = hidden_states.shape
    gating = np.zeros((batch, length, branches))
    updated = hidden_states.copy()
    for b in range(batch):
        for t in range(length):
            memory = sum(rows[b, t])  # heads and orders
            for m in range(branches):
                score = float(gate_weight[m] @ np.concatenate([hidden_states[b, t, m], memory]))
                if mask is None or mask[b, t]:
                    gating[b, t, m] = 1 / (1 + math.exp(-score))
                updated[b, t, m] += gating[b, t, m] * (value_weight @ memory)
    return updated, gating
