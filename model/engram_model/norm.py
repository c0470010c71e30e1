"""Root-mean-square normalisation of every residual stream with a weight of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class BranchNorm(nn.Module):
    """RMS norm over the last axis of (..., M, H), one weight vector per branch.

    Args:
        num_branches: M.
        hidden_dim: H.
        eps: added to the mean square; None is the machine epsilon of the input's data type, as in `torch.nn.RMSNorm`.
    """

    def __init__(self, num_branches: int, hidden_dim: int, eps: float | None) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_branches, hidden_dim))

    def forward(self, streams: Tensor) -> Tensor:
        """Return the normalised streams, of the same shape (..., M, H)."""
        return functional.rms_norm(streams, streams.shape[-1:], eps=self.eps) * self.weight
