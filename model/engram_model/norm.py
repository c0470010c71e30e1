"""Root-mean-square normalisation of every residual stream."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engram_model.precision import widen


class BranchNorm(nn.Module):
    """RMS norm over the last axis of (..., M, H), one weight vector per branch.

    Args:
        num_branches: M.
        hidden_dim: H.
        eps: as for `inverse_rms`.
    """

    def __init__(self, num_branches: int, hidden_dim: int, eps: float | None) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_branches, hidden_dim))

    def forward(self, streams: Tensor) -> Tensor:
        """Return the normalised streams, of the same shape (..., M, H)."""
        return streams * inverse_rms(streams, self.eps).unsqueeze(-1) * widen(self.weight)


def inverse_rms(streams: Tensor, eps: float | None) -> Tensor:
    """Return 1 / sqrt(mean square + eps) over the last axis.

    Without an eps it is the machine epsilon of the data type, as in `torch.nn.RMSNorm`.
    """
    if eps is None:
        eps = torch.finfo(streams.dtype).eps
    return torch.rsqrt(streams.square().mean(dim=-1) + eps)
