"""A short causal convolution over the gated values, which widens what a token sees of its neighbours' memories."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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


class ConvPast(NamedTuple):
    """What a batch of sequences can still be seen of by the tokens after them."""

    values: Tensor
    """The last normalised values, (B, past_tokens, M, H), oldest first; zeros where they are of an earlier document."""
    document: Tensor | None
    """The document of each sequence's last token, (B,); None where the stream has no sequence ids."""


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

    def forward(
        self, values: Tensor, past: ConvPast | None = None, documents: Tensor | None = None
    ) -> tuple[Tensor, ConvPast]:
        """Return the filtered wide values (B, T, M, H), and the past for the tokens after these.

        Args:
            values: (B, T, M, H), float32 or float64.
            past: what the call before this one returned; None stands for zeros.
            documents: integers (B, T); a token sees nothing from before the last change of them.

        Raises:
            ValueError: the past is of another number of sequences, or was made with documents and there are none now.
        """
        batch, length = values.shape[:2]
        if past is None:
            past = ConvPast(values.new_zeros(batch, self.past_tokens, *values.shape[2:]), None)
        _check_past(past, batch, documents)
        window = torch.cat([past.values.to(values), self.norm(values)], dim=1)  # (B, past_tokens + T, M, H)
        starts = None if documents is None else _starts(documents, past, self.past_tokens)  # (B, T + 1)
        mixed = torch.zeros_like(values)
        for tap, weight in enumerate(widen(self.taps).unbind()):
            first = tap * self.dilation
            seen = _from_start(window[:, first : first + length], first, None if starts is None else starts[:, :-1])
            mixed = mixed + weight * seen
        last = _from_start(window[:, length:], length, None if starts is None else starts[:, -1:])
        return functional.silu(mixed), ConvPast(last, None if documents is None else _last(documents, past))


def _check_past(past: ConvPast, batch: int, documents: Tensor | None) -> None:
    if past.values.shape[0] != batch:
        raise ValueError(f"the state is of {past.values.shape[0]} sequences, got {batch}")
    if documents is None and past.document is not None:
        raise ValueError("the state was made with sequence_ids, so the tokens that continue it need them too")


def _starts(documents: Tensor, past: ConvPast, past_tokens: int) -> Tensor:
    """Return the column of the window at which the document of each token starts, and once more that of the last."""
    batch, length = documents.shape
    columns = torch.arange(past_tokens, past_tokens + length, device=documents.device)
    with_previous = torch.cat([_document_before(past, documents).unsqueeze(1), documents], dim=1)
    changes = torch.where(with_previous[:, 1:] != with_previous[:, :-1], columns, 0)
    running = torch.cat([changes.new_zeros(batch, 1), changes], dim=1).cummax(dim=1).values
    return torch.cat([running[:, 1:], running[:, -1:]], dim=1)


def _document_before(past: ConvPast, documents: Tensor) -> Tensor:
    """Return the document of the token before the first, (B,); a past without documents is one, the first."""
    return documents.new_ones(len(documents)) if past.document is None else past.document.to(documents)


def _last(documents: Tensor, past: ConvPast) -> Tensor:
    return torch.cat([_document_before(past, documents).unsqueeze(1), documents], dim=1)[:, -1]


def _from_start(values: Tensor, first: int, starts: Tensor | None) -> Tensor:
    """Return values (B, T, M, H), of the columns from `first` on, with zeros where a token's document starts later."""
    if starts is None:
        return values
    columns = torch.arange(first, first + values.shape[1], device=values.device)
    return values.masked_fill((columns < starts)[..., None, None], 0.0)
