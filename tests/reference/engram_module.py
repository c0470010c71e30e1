"""One Engram layer, written out token by token in NumPy float64. It is slow and shares no code with the package.

Section 2.3 of arXiv 2601.07372 as DeepSeek's demonstration program does it. Weights go by that program's names.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def engram_layer(
    weights: dict[str, Array],
    hidden_states: Array,  # (B, T, M, H)
    embeddings: Array,  # (B, T, memory_dim)
    *,
    dilation: int,
    gate_eps: float,
    conv_eps: float = 1e-5,
    signed_sqrt: bool = True,
    mask: NDArray[np.bool_] | None = None,  # (B, T)
) -> tuple[Array, Array]:
    """Return the updated hidden states (B, T, M, H) and the gating (B, T, M)."""
    batch, length, branches, _ = hidden_states.shape
    gating = np.zeros((batch, length, branches))
    values = np.zeros_like(hidden_states)
    for b in range(batch):
        for t in range(length):
            value = weights["value_proj.weight"] @ embeddings[b, t] + weights["value_proj.bias"]
            for m in range(branches):
                key = weights[f"key_projs.{m}.weight"] @ embeddings[b, t] + weights[f"key_projs.{m}.bias"]
                key = rms_norm(key, weights[f"norm1.{m}.weight"], gate_eps)
                query = rms_norm(hidden_states[b, t, m], weights[f"norm2.{m}.weight"], gate_eps)
                if mask is None or mask[b, t]:
                    gating[b, t, m] = gate(key, query, signed_sqrt)
                values[b, t, m] = gating[b, t, m] * value
    updated = hidden_states + values
    for b in range(batch):
        updated[b] += short_convolution(weights, values[b], dilation, conv_eps)
    return updated, gating


def rms_norm(vector: Array, weight: Array, eps: float) -> Array:
    return vector / math.sqrt(sum(x * x for x in vector) / len(vector) + eps) * weight


def gate(key: Array, query: Array, signed_sqrt: bool) -> float:
    score = float(key @ query) / math.sqrt(len(key))
    if signed_sqrt:
        sign = (score > 0) - (score < 0)
        score = sign * math.sqrt(max(abs(score), 1e-6))
    return 1 / (1 + math.exp(-score))


def short_convolution(weights: dict[str, Array], values: Array, dilation: int, eps: float) -> Array:
    """Return the convolution of one sequence of gated values (T, M, H)."""
    length, branches, width = values.shape
    taps = weights["short_conv.conv.weight"]  # (M * H, 1, kernel)
    kernel = taps.shape[-1]
    result = np.zeros_like(values)
    for t in range(length):
        for m in range(branches):
            total = np.zeros(width)
            for tap in range(kernel):
                source = t - (kernel - 1 - tap) * dilation
                if source >= 0:
                    normed = rms_norm(values[source, m], weights[f"short_conv.norms.{m}.weight"], eps)
                    total += taps[m * width : (m + 1) * width, 0, tap] * normed
            result[t, m] = total / (1 + np.exp(-total))  # SiLU
    return result
