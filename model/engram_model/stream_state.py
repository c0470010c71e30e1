"""What a layer keeps between two pieces of the same sequences, so that decoding goes on where it stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from engram_model.short_conv import ConvPast
    from engram_model.torch_hashing import TorchHistory

_Part = TypeVar("_Part")


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

    def select(self, sequences: Sequence[int]) -> EngramState:
        """Return the state of some of the batch's sequences, in the order given, repeats included (beam search).

        Raises:
            IndexError: there is no such sequence.
        """
        history, past = self.history, self.conv_past
        if history is not None:
            history = history._replace(
                tokens=_taken(history.tokens, sequences), documents=_taken_or_none(history.documents, sequences)
            )
        if past is not None:
            past = past._replace(
                values=_taken(past.values, sequences), document=_taken_or_none(past.document, sequences)
            )
        return EngramState(history, past)

    @classmethod
    def join(cls, states: Sequence[EngramState]) -> EngramState:
        """Return the state of one batch of the sequences of all: those that come in go behind those that are there.

        Raises:
            ValueError: some stand before their first tokens and some do not, some have sequence ids and some do not, or
                they are of several hashes.
        """
        histories = _all_or_none("ids", [state.history for state in states])
        pasts = _all_or_none("values of the convolution", [state.conv_past for state in states])
        joined = cls()
        if histories:
            if len(made_by := {history.made_by for history in histories}) > 1:
                raise ValueError(f"states of one hash can be joined, got those of {sorted(made_by)}")
            tokens = torch.cat([history.tokens for history in histories])
            joined.history = histories[0]._replace(
                tokens=tokens, documents=_joined([history.documents for history in histories])
            )
        if pasts:
            values = torch.cat([past.values for past in pasts])
            joined.conv_past = pasts[0]._replace(values=values, document=_joined([past.document for past in pasts]))
        return joined


def _taken(values: Tensor, sequences: Sequence[int]) -> Tensor:
    return values[torch.as_tensor(sequences, dtype=torch.int64, device=values.device)]


def _taken_or_none(values: Tensor | None, sequences: Sequence[int]) -> Tensor | None:
    return None if values is None else _taken(values, sequences)


def _all_or_none(what: str, values: Sequence[_Part | None]) -> list[_Part]:
    """Return parts that all states have, or nothing if none has them."""
    present = [value for value in values if value is not None]
    if present and len(present) < len(values):
        raise ValueError(f"{len(present)} of {len(values)} states have {what}: states that have begun can be joined")
    return present


def _joined(documents: Sequence[Tensor | None]) -> Tensor | None:
    present = _all_or_none("sequence ids", documents)
    return torch.cat(present) if present else None
