"""What the model does in one round: a prefill, or a run of decode steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from bench.end_to_end.decoder import Decoder, Past
from bench.end_to_end.forms import Form, HeldRows
from bench.end_to_end.size import Size
from torch import Tensor

from engram_model import EngramModule, EngramState


@dataclass(frozen=True, slots=True)
class Done:
    """What a round of one form took, and gave."""

    seconds: float
    """All steps; what a form prepares before them is not in it."""
    cpu_seconds: float
    """Processor time of the model's thread in them."""
    num_steps: int
    num_tokens: int
    waited_seconds: dict[int, float]
    """Layer id to how long the layer stood still for its rows, all steps together."""
    turn_seconds: dict[int, float]
    """Layer id to when its turn came in the first step, if its rows were held."""
    hidden_states: list[Tensor]
    """Of each step (B, T, H)."""

    @property
    def tokens_per_second(self) -> float:
        return self.num_tokens / self.seconds

    @property
    def step_seconds(self) -> float:
        return self.seconds / self.num_steps


class Task(Protocol):
    """Rounds of the same number are the same work for every form."""

    name: str

    def run(self, decoder: Decoder, form: Form, number: int) -> Done:
        """Do one round."""
        ...


class Prefill:
    """One sequence of random tokens, all at once: no n-gram repeats, every row must come."""

    name = "prefill"

    def __init__(self, size: Size) -> None:
        self._size = size

    def run(self, decoder: Decoder, form: Form, number: int) -> Done:
        tokens = _random_tokens(self._size, number, (1, self._size.prefill_tokens))
        return _run(decoder, form, [tokens], {layer: EngramState() for layer in self._size.layer_ids})


class Decode:
    """One token more for each of several sequences, some times."""

    name = "decode"

    def __init__(self, size: Size) -> None:
        self._size = size
        self._pasts = [Past.made_up(size) for _ in range(size.num_blocks)]

    def run(self, decoder: Decoder, form: Form, number: int) -> Done:
        size = self._size
        length = size.context_tokens + size.decode_steps
        tokens = _random_tokens(size, number, (size.decode_sequences, length))
        states = {layer: EngramState() for layer in size.layer_ids}
        for layer, state in states.items():
            module: EngramModule = decoder.engrams[str(layer)]
            module.row_ids(tokens[:, : size.context_tokens], state=state)  # moves it behind the context
        pieces = list(tokens[:, size.context_tokens :].split(1, dim=1))
        return _run(decoder, form, pieces, states, self._pasts, size.context_tokens)


def _run(
    decoder: Decoder,
    form: Form,
    pieces: Sequence[Tensor],
    states: dict[int, EngramState],
    pasts: list[Past] | None = None,
    first_position: int = 0,
) -> Done:
    form.prepare(pieces, states)
    seconds = cpu_seconds = 0.0
    outputs, waited, turns = [], dict.fromkeys(states, 0.0), {}
    with torch.inference_mode():
        for position, input_ids in enumerate(pieces, start=first_position):
            began, began_cpu = time.perf_counter(), time.thread_time()
            with form.begin(input_ids, states) as embeddings:
                outputs.append(decoder(input_ids, embeddings, pasts, position))
            seconds += time.perf_counter() - began
            cpu_seconds += time.thread_time() - began_cpu
            for layer, pending in embeddings.items():
                waited[layer] += pending.waited_seconds
                if isinstance(pending, HeldRows):
                    turns.setdefault(layer, pending.turn_at - began)
    num_tokens = sum(input_ids.numel() for input_ids in pieces)
    return Done(seconds, cpu_seconds, len(pieces), num_tokens, waited, turns, outputs)


def _random_tokens(size: Size, number: int, shape: tuple[int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(number)
    return torch.randint(0, size.vocab_size, shape, generator=generator)
