"""A short causal convolution over the gated values, which widens what a token sees of its neighbours' memories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from engram_model.norm import BranchNorm
from engram_model.precision import widen

if TYPE_CHECKING:
    from engram_model.config import EngramConfig


def make_short_conv(config: EngramConfig) -> ShortConv | None:
    """Return the convolution that the configuration asks for, if any."""
    return None if config.conv_kernel_size is None else ShortConv(config, config.conv_kernel_size)


class ShortConv(nn.Module):
    """Depthwise, dilated, causal convolution over normalised streams, then SiLU (section 2.3 of arXiv 2601.07372).

    Every channel of every branch is filtered for itself, without a bias. The last of the taps is the current token,
    the one before it looks `config.dilation` tokens back, and so on; before the sequence there are zeros. The taps are
    summed one after the other, so that a token's result does not depend on how many are computed with it.
    """

    def __init__(self, config: EngramConfig, kernel_size: int) -> None:
        super().__init__()
        self.dilation = config.dilation
        self.past_tokens = (kernel_size - 1) * config.dilation  # what the first tap looks back
        self.norm = BranchNorm(config.num_branches, config.hidden_dim, eps=config.conv_norm_eps)
        self.taps = nn.Parameter(torch.empty(kernel_size, config.num_branches, config.hidden_dim))
        if config.conv_init_std is None:
            nn.init.uniform_(self.taps, -(kernel_size**-0.5), kernel_size**-0.5)  # as torch.nn.Conv1d
        else:
            nn.init.normal_(self.taps, std=config.conv_init_std)

    def forward(self, values: Tensor, past: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the filtered wide values (B, T, M, H), and the past for the tokens after these.

        The past holds the last `past_tokens` normalised values, (B, past_tokens, M, H); None stands for zeros.
        """
        batch, length = values.shape[:2]
        if past is None:
            past = values.new_zeros(batch, self.past_tokens, *values.shape[2:])
        elif past.shape[0] != batch:
            raise ValueError(f"the state is of {past.shape[0]} sequences, got {batch}")
        window = torch.cat([past.to(values), self.norm(values)], dim=1)  # (B, past_tokens + T, M, H)
        mixed = torch.zeros_like(values)
        for tap, weight in enumerate(widen(self.taps).unbind()):
            mixed = mixed + weight * window[:, tap * self.dilation : tap * self.dilation + length]
        return functional.silu(mixed), window[:, length:]
