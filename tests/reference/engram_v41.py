"""The fusion of DeepSeek-V4.1, written out number by number in NumPy float64; it shares no code with the package."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def v41_layer(
    weights: dict[str, Array],  # wkv.weight ((M + 1) * H, memory_dim); q_weight and k_weight (M, H)
    hidden_states: Array,  # (B, T, M, H)
    embeddings: Array,  # (B, T, memory_dim)
    mask: NDArray[np.bool_] | None = None,  # (B, T)
    eps: float = 1e-20,
) -> tuple[Array, Array]:
    """Return the updated hidden states (B, T, M, H) and the gating (B, T, M)."""
    kv = embeddings @ weights["wkv.weight"].T  # (B, T, (M + 1) * H)
    return v41_fusion(weights["q_weight"], weights["k_weight"], hidden_states, kv, mask, eps)


def v41_fusion(
    q_weight: Array,
    k_weight: Array,
    hidden_states: Array,
    kv: Array,
    mask: NDArray[np.bool_] | None = None,
    eps: float = 1e-20,
) -> tuple[Array, Array]:
    batch, length, branches, width = hidden_states.shape
    updated = hidden_states.copy()
    gating = np.zeros((batch, length, branches))
    for b in range(batch):
        for t in range(length):
            value = kv[b, t, branches * width :]
            for m in range(branches):
                key = kv[b, t, m * width : (m + 1) * width]
                if mask is None or mask[b, t]:
                    gating[b, t, m] = v41_gate(hidden_states[b, t, m], key, q_weight[m] * k_weight[m], eps)
                updated[b, t, m] += gating[b, t, m] * value
    return updated, gating


def v41_gate(hidden: Array, key: Array, weight: Array, eps: float) -> float:
    width = len(hidden)
    dot = sum(float(h * w * k) for h, w, k in zip(hidden, weight, key, strict=True))
    for vector in (hidden, key):
        dot /= math.sqrt(sum(float(x * x) for x in vector) / width + eps)
    dot /= math.sqrt(width)
    score = math.copysign(math.sqrt(max(abs(dot), 1e-6)), dot)
    return 1 / (1 + math.exp(-score))
