"""From rounds to figures: tokens a second, what is left of the ideal's, and how long layers stood still."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench.end_to_end.hiding import SMALL_SHARE, Trial, longest_hidden
from bench.end_to_end.paired import Ratio
from bench.end_to_end.rounds import Rounds
from bench.end_to_end.scene import BY_PROXY, HELD, PREFETCHED
from bench.end_to_end.task import Done

Figures = dict[str, Any]  # what goes into the JSON file
# Task, milliseconds added: what prefetching must reach of the ideal.
BARS = {("prefill", 0.0): 0.98, ("prefill", 1.0): 0.97, ("decode", 0.0): 0.95}


def figures_of(task: str, added_ms: float, rounds: Rounds) -> list[Figures]:
    """Return one entry a form.

    Ratios are to the ideal's round of the same number, and of the fastest rounds. Waits are shares of the ideal's step.
    Processor time is that of the model's thread: what a form costs there beside what it stands still for.
    """
    ideal = rounds[HELD]
    step_seconds = statistics.median(one.step_seconds for one in ideal)
    return [
        {
            "task": task,
            "added_ms": added_ms,
            "form": form,
            "tokens_per_second": statistics.median(one.tokens_per_second for one in done),
            "step_ms": statistics.median(one.step_seconds for one in done) * 1e3,
            "model_cpu_ms": statistics.median(one.cpu_seconds / one.num_steps for one in done) * 1e3,
            "fastest_to_ideal": min(one.seconds for one in ideal) / min(one.seconds for one in done),
            "to_ideal": _ratio(done, ideal),
            "to_no_proxy": _ratio(done, rounds[form.removesuffix(BY_PROXY)]) if form.endswith(BY_PROXY) else None,
            "waited_share": {
                layer: statistics.median(one.waited_seconds[layer] / one.num_steps for one in done) / step_seconds
                for layer in done[0].waited_seconds
            },
        }
        for form, done in rounds.items()
    ]


def _ratio(ours: Sequence[Done], others: Sequence[Done]) -> Figures:
    return asdict(Ratio.of(*([one.tokens_per_second for one in rounds] for rounds in (ours, others))))


def bars_of(figures: Sequence[Figures]) -> list[Figures]:
    """Return each bar with what was reached."""
    found = []
    for one in figures:
        bar = BARS.get((one["task"], one["added_ms"]))
        if one["form"] == PREFETCHED and bar is not None:
            reached = Ratio(**one["to_ideal"])
            case = {"task": one["task"], "added_ms": one["added_ms"], "bar": bar}
            found.append(case | asdict(reached) | {"verdict": reached.verdict(bar)})
    return found


def hiding_of(task: str, layer: int, trials: list[Trial]) -> Figures:
    """Return where hiding ends, in milliseconds and as shares of a step; null if not even nothing added is hidden."""
    step_seconds = statistics.median(trial.step_seconds for trial in trials)
    turn_seconds = statistics.median(trial.turn_seconds for trial in trials)
    hidden_seconds = longest_hidden(trials)
    return {
        "task": task,
        "block": layer,
        "step_ms": step_seconds * 1e3,
        "turn_ms": turn_seconds * 1e3,
        "turn_share": turn_seconds / step_seconds,
        "hidden_ms": None if hidden_seconds is None else hidden_seconds * 1e3,
        "hidden_share": None if hidden_seconds is None else hidden_seconds / step_seconds,
        "trials": [asdict(trial) for trial in trials],
    }


def print_figures(figures: Sequence[Figures]) -> None:
    """Print what was measured, a block a task and distance."""
    for task, added_ms in dict.fromkeys((one["task"], one["added_ms"]) for one in figures):
        print(f"\n{task}, {added_ms:g} ms added")
        heading = f"{'':<22} {'tokens/s':>9} {'step ms':>9} {'cpu ms':>9} {'to the ideal (95 %)':>24} {'fastest':>8}"
        print(f"{heading}  stood still")
        for one in figures:
            if (one["task"], one["added_ms"]) == (task, added_ms):
                waits = ", ".join(f"block {layer} {share:.1%}" for layer, share in one["waited_share"].items())
                numbers = f"{one['tokens_per_second']:>9.1f} {one['step_ms']:>9.2f} {one['model_cpu_ms']:>9.2f}"
                ratios = f"{_spread(one['to_ideal']):>24} {one['fastest_to_ideal']:>8.4f}"
                print(f"{one['form']:<22} {numbers} {ratios}  {waits}", flush=True)
        for one in figures:
            if one["to_no_proxy"]:
                form, ratio = one["form"].removesuffix(BY_PROXY), _spread(one["to_no_proxy"])
                print(f"the proxy itself: {form} reaches {ratio} through it of what it does without")


def print_bars(bars: Sequence[Figures]) -> None:
    """Print the bars, and what was reached."""
    print("\nprefetched against the ideal, medians of paired rounds")
    for one in bars:
        case = f"{one['task']}, {one['added_ms']:g} ms added"
        print(f"{case}: {_spread(one)} of {one['pairs']} pairs, at least {one['bar']}: {one['verdict']}")


def print_hiding(limits: Sequence[Figures]) -> None:
    """Print where hiding ends."""
    print(f"\nthe longest round trip added for which a layer stands still at most {SMALL_SHARE:.0%} of a step")
    for one in limits:
        hidden = "not even none"
        if one["hidden_ms"] is not None:
            hidden = "{hidden_ms:.1f} ms, {hidden_share:.0%} of a step of {step_ms:.0f} ms".format(**one)
        print("{task}, block {block}: {hidden}; its turn comes after {turn_ms:.1f} ms".format(**one, hidden=hidden))


def _spread(ratio: Figures) -> str:
    return "{median:.4f} ({low:.4f}..{high:.4f})".format(**ratio)
