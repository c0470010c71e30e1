"""The study module, token by token in NumPy float64, by its own names: it shares no code with the package."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
EPS = 1e-6


def study_embeddings(tables: dict[str, Array], indices: dict[int, NDArray[np.int64]]) -> Array:
    """Return (B, T, memory_dim) from tables E_{n}_{k} (rows, D) and indices {n: (B, T, K)}."""
    pieces = [
        tables[f"embedding_table.embeddings.E_{n}_{k}.weight"][indices[n][:, :, k]]
        for n in sorted(indices)
        for k in range(indices[n].shape[-1])
    ]
    return np.concatenate(pieces, axis=-1)


def study_layer(
    weights: dict[str, Array],
    hidden_states: Array,  # (B, T, H)
    embeddings: Array,  # (B, T, memory_dim)
    mask: NDArray[np.bool_] | None = None,  # (B, T)
) -> tuple[Array, Array]:
    """Return the updated hidden states (B, T, H) and the gating (B, T, 1)."""
    batch, length, width = hidden_states.shape
    gating = np.zeros((batch, length, 1))
    updated = hidden_states.copy()
    for b in range(batch):
        values = np.zeros((length, width))
        for t in range(length):
            if mask is None or mask[b, t]:
                key = normed(weights["gating.W_K.0.weight"] @ embeddings[b, t])
                score = float(normed(hidden_states[b, t]) @ key) / math.sqrt(width)
                gating[b, t, 0] = 1 / (1 + math.exp(-score))
            values[t] = gating[b, t, 0] * (weights["gating.W_V.weight"] @ embeddings[b, t])
        updated[b] += values + fused(weights, values)
    return updated, gating


def normed(vector: Array) -> Array:
    return vector / math.sqrt(sum(float(x * x) for x in vector) / len(vector) + EPS)


def fused(weights: dict[str, Array], values: Array) -> Array:
    """Return the convolution of one sequence (T, H): kernel 3, no dilation, then SiLU."""
    taps = weights["fusion.conv.conv.weight"][:, 0]  # (H, 3)
    result = np.zeros_like(values)
    for t in range(len(values)):
        total = np.zeros(values.shape[1])
        for back in range(taps.shape[1]):
            if t - back >= 0:
                total += taps[:, -1 - back] * normed(values[t - back]) * weights["fusion.norm.weight"]
        result[t] = total / (1 + np.exp(-total))
    return result
