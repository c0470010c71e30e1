"""A short causal convolution over the gated values, which widens what a token sees of its neighbours' memories."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from engram_model.norm import BranchNorm


class ShortConv(nn.Module):
    """Depthwise, dilated, causal convolution over normalised streams, then SiLU (section 2.3 of arXiv 2601.07372).

    Every channel of every branch is filtered for itself, without a bias. The last of the `kernel_size` taps is the
    current token, the one before it looks `dilation` tokens back, and so on; before the sequence there are zeros.

    Args:
        num_branches: M.
        hidden_dim: H.
        kernel_size: taps, at least 1.
        dilation: tokens between two taps.
        norm_eps: epsilon of the RMS norm in front.
    """

    def __init__(self, num_branches: int, hidden_dim: int, *, kernel_size: int, dilation: int, norm_eps: float) -> None:
        super().__init__()
        channels = num_branches * hidden_dim
        self.history = (kernel_size - 1) * dilation  # tokens before the current one that the first tap needs
        self.norm = BranchNorm(num_branches, hidden_dim, eps=norm_eps)
        self.conv = nn.Conv1d(channels, channels, kernel_size, dilation=dilation, groups=channels, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        """Return the filtered values (B, T, M, H)."""
        if values.shape[1] == 0:
            return values  # torch refuses to convolve nothing
        channels = self.norm(values).flatten(2).transpose(1, 2)  # (B, M * H, T)
        mixed = self.conv(functional.pad(channels, (self.history, 0)))  # (B, M * H, T)
        return functional.silu(mixed).transpose(1, 2).reshape(values.shape)
