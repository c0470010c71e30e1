"""Rounds of all forms by turns, so that a machine that slows down slows all of them; every output is compared."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from bench.end_to_end.decoder import Decoder
from bench.end_to_end.forms import Form
from bench.end_to_end.task import Done, Task

_WARM_UP = -1
Rounds = dict[str, list[Done]]
"""By form, a round each, in order: rounds of the same number were run one after another and did the same work."""


class OutputsDiffer(Exception):
    """Two forms gave other hidden states: one of them read wrong rows."""


def run_rounds(decoder: Decoder, task: Task, forms: Mapping[str, Form], rounds: int) -> Rounds:
    """Run so many rounds after one to warm up; forwards and backwards in turn, so that nobody always comes first.

    Raises:
        OutputsDiffer: a form does not give the bits of the first.
    """
    found: Rounds = {name: [] for name in forms}
    for number in range(_WARM_UP, rounds):
        names = list(forms)[:: 1 if number % 2 else -1]
        done = {name: task.run(decoder, forms[name], number) for name in names}
        _check_equal(task, {name: done[name] for name in forms})
        if number != _WARM_UP:
            for name, one in done.items():
                one.hidden_states.clear()
                found[name].append(one)
    return found


def _check_equal(task: Task, done: Mapping[str, Done]) -> None:
    first, *others = done
    for name in others:
        steps = zip(done[first].hidden_states, done[name].hidden_states, strict=True)
        if not all(torch.equal(expected, got) for expected, got in steps):
            raise OutputsDiffer(f"{task.name}: the hidden states of {name!r} are not those of {first!r}")
