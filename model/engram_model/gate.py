"""How far each residual stream opens to what was looked up, judged by the stream itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from engram_model.config import EngramConfig
from engram_model.norm import inverse_rms
from engram_model.precision import widen

# The root's argument is kept away from 0, where its slope is infinite.
SMALLEST_SCORE = 1e-6


def make_gate(config: EngramConfig) -> ContextGate | LinearGate:
    """Return the gate that the configuration asks for."""
    return ContextGate(config) if config.gate == "product" else LinearGate(config)


class ContextGate(nn.Module):
    """Context-aware gating: the scaled product of a hidden state (query) and a projected memory (key), both normalised.

    The source is DeepSeek's demonstration program and section 2.3 of the paper (arXiv 2601.07372). The key projections
    of all branches are one matrix of M * H rows, branch after branch. The two norms are two factors behind the product,
    and of their weights only the product counts, as in DeepSeek-V4.1.
    """

    def __init__(self, config: EngramConfig) -> None:
        super().__init__()
        self.eps = config.gate_norm_eps
        self.signed_sqrt = config.signed_sqrt
        self.sign_of_zero = config.sign_of_zero
        branches = (config.num_branches, config.hidden_dim)
        self.key_proj = nn.Linear(config.projected_dim, config.num_branches * config.hidden_dim, bias=config.bias)
        self.key_norm_weight = nn.Parameter(torch.ones(branches)) if config.gate_norm_weights else None
        self.query_norm_weight = nn.Parameter(torch.ones(branches)) if config.gate_norm_weights else None

    def forward(self, streams: Tensor, memory: Tensor) -> Tensor:
        """Return the gating (B, T, M), each between 0 and 1, for wide streams (B, T, M, H) and memory (B, T, E)."""
        keys = widen(self.key_proj(memory)).view(streams.shape)  # (B, T, M, H)
        products = streams * keys
        if self.key_norm_weight is not None and self.query_norm_weight is not None:
            products = products * (widen(self.query_norm_weight) * widen(self.key_norm_weight))
        scores = products.sum(dim=-1) * inverse_rms(streams, self.eps) * inverse_rms(keys, self.eps)  # (B, T, M)
        scores = scores * streams.shape[-1] ** -0.5
        if self.signed_sqrt:
            scores = signed_sqrt(scores, self.sign_of_zero)
        return scores.sigmoid()


class LinearGate(nn.Module):
    """A linear layer over the hidden state and the memory side by side, one output a branch (the academic form)."""

    def __init__(self, config: EngramConfig) -> None:
        super().__init__()
        self.hidden_dim = config.hidden_dim
        self.proj = nn.Linear(config.hidden_dim + config.projected_dim, config.num_branches, bias=config.bias)

    def forward(self, streams: Tensor, memory: Tensor) -> Tensor:
        """Return the gating (B, T, M) for wide streams (B, T, M, H) and memory (B, T, E)."""
        weight = widen(self.proj.weight)
        of_streams, of_memory = weight[:, : self.hidden_dim], weight[:, self.hidden_dim :]
        bias = None if self.proj.bias is None else widen(self.proj.bias)
        scores = (streams * of_streams).sum(dim=-1) + functional.linear(widen(memory), of_memory, bias)
        return scores.sigmoid()


def signed_sqrt(scores: Tensor, sign_of_zero: int) -> Tensor:
    """Return sign(s) * sqrt(max(|s|, 1e-6)) for every score, where a score of exactly 0 has the sign given."""
    signs = scores.sign() if sign_of_zero == 0 else torch.where(scores < 0, -1.0, 1.0).to(scores)
    return signs * scores.abs().clamp_min(SMALLEST_SCORE).sqrt()
