"""What a layer keeps between two pieces of the same sequences, so that decoding goes on where it stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engram_model.short_conv import ConvPast
    from engram_model.torch_hashing import TorchHistory


@dataclass(slots=True, eq=False)
class EngramState:
    """The past of a batch of sequences in one layer; `EngramState()` stands before their first tokens.

    A call that is given the state moves it past the tokens of that call. Its contents are replaced and never changed in
    place, so `copy.copy(state)` is a mark to come back to (beam search, speculative tokens, a fetch that failed).
    """

    history: TorchHistory | None = None
    """The ids that the next n-grams reach back to: moved on by whatever hashes ids."""
    conv_past: ConvPast | None = None
    """What the convolution looks back to, without gradients: moved on by `forward`."""
