"""Where hiding ends: the largest added round trip that the work before a layer still covers."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from bench.end_to_end.rounds import run_rounds
from bench.end_to_end.scene import HELD, PREFETCHED, Scene
from bench.end_to_end.task import Task

SMALL_SHARE = 0.01
"""Of a step of the ideal: what a layer may stand still for and still count as covered."""
_BEYOND_THE_TURN = 1.25  # where the search begins: nothing later than the layer's turn can be hidden
_FINEST_SECONDS = 0.00025


@dataclass(frozen=True, slots=True)
class Trial:
    """One added round trip: what the layer waited, and the ideal between whose rounds it was tried."""

    added_seconds: float
    waited_seconds: float
    """A step."""
    step_seconds: float
    """Of the ideal."""
    turn_seconds: float
    """When the layer's turn came in the ideal."""

    @property
    def is_hidden(self) -> bool:
        return self.waited_seconds <= SMALL_SHARE * self.step_seconds


def try_layer(scene: Scene, task: Task, layer: int, added_seconds: float, rounds: int) -> Trial:
    """Prefetch the rows of one layer alone: while another waits, this one's would have more time."""
    scene.proxy.add_round_trip(added_seconds)
    forms = {HELD: scene.straight[HELD], PREFETCHED: scene.only[layer]}
    done = run_rounds(scene.decoder, task, forms, rounds)
    return Trial(
        added_seconds,
        statistics.median(one.waited_seconds[layer] / one.num_steps for one in done[PREFETCHED]),
        statistics.median(one.step_seconds for one in done[HELD]),
        statistics.median(one.turn_seconds[layer] for one in done[HELD]),
    )


def search_end(try_it: Callable[[float], Trial], halvings: int) -> list[Trial]:
    """Return the trials of a search by halving between nothing added and a little more than the layer's turn."""
    trials = [try_it(0.0)]
    hidden, late = 0.0, _BEYOND_THE_TURN * trials[0].turn_seconds
    while trials[0].is_hidden and len(trials) <= halvings and late - hidden > _FINEST_SECONDS:
        trials.append(try_it((hidden + late) / 2))
        if trials[-1].is_hidden:
            hidden = trials[-1].added_seconds
        else:
            late = trials[-1].added_seconds
    return trials


def longest_hidden(trials: list[Trial]) -> float | None:
    """Return the largest round trip added, in seconds, that was hidden; None if not even none was."""
    return max((trial.added_seconds for trial in trials if trial.is_hidden), default=None)
