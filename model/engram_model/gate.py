"""How far each residual stream opens to what was looked up, judged by the stream itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engram_model.config import EngramConfig
from engram_model.norm import BranchNorm

# The root's argument is kept away from 0, where its slope is infinite.
SMALLEST_SCORE = 1e-6


class ContextGate(nn.Module):
    """Context-aware gating: the scaled product of a hidden state (query) and a projected memory (key), both normalised.

    The source is DeepSeek's demonstration program and section 2.3 of the paper (arXiv 2601.07372). The key projections
    of all branches are one matrix of M * H rows, branch after branch.
    """

    def __init__(self, config: EngramConfig) -> None:
        super().__init__()
        self.hidden_dim = config.hidden_dim
        self.signed_sqrt = config.signed_sqrt
        self.sign_of_zero = config.sign_of_zero
        self.key_proj = nn.Linear(config.memory_dim, config.num_branches * config.hidden_dim, bias=config.bias)
        self.key_norm = BranchNorm(config.num_branches, config.hidden_dim, eps=config.gate_norm_eps)
        self.query_norm = BranchNorm(config.num_branches, config.hidden_dim, eps=config.gate_norm_eps)

    def forward(self, streams: Tensor, memory: Tensor) -> Tensor:
        """Return the gating (B, T, M), each between 0 and 1, for streams (B, T, M, H) and memory (B, T, memory_dim)."""
        keys: Tensor = self.key_proj(memory).view(streams.shape)  # (B, T, M, H)
        keys = self.key_norm(keys)
        queries: Tensor = self.query_norm(streams)  # (B, T, M, H)
        scores = (keys * queries).sum(dim=-1) / self.hidden_dim**0.5  # (B, T, M)
        if self.signed_sqrt:
            scores = signed_sqrt(scores, self.sign_of_zero)
        gating: Tensor = scores.sigmoid()
        return gating


def signed_sqrt(scores: Tensor, sign_of_zero: int) -> Tensor:
    """Return sign(s) * sqrt(max(|s|, 1e-6)) for every score, where a score of exactly 0 has the sign given."""
    signs = scores.sign() if sign_of_zero == 0 else torch.where(scores < 0, -1.0, 1.0).to(scores)
    return signs * scores.abs().clamp_min(SMALLEST_SCORE).sqrt()
