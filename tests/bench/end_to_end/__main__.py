"""A model with Engram layers whose rows are in memory, in process, or on a node at some distance.

    PYTHONPATH=tests python -m bench.end_to_end [--quick] [--out DIRECTORY]

A decoder on the CPU prefills and decodes in four forms (see forms.py): the ideal, with the rows in memory before the
step; tables in process; tables on a node, prefetched; the same fetched in the layer. The model computes on one core,
node and client I/O are on another, and a proxy adds to the round trip. Hidden states of all forms are compared bit for
bit in every round. Writes end_to_end.json and the figure; exits with 1 if outputs differed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.end_to_end.cores import Cores
from bench.end_to_end.hiding import search_end, try_layer
from bench.end_to_end.rounds import OutputsDiffer, run_rounds
from bench.end_to_end.scene import Scene, scene
from bench.end_to_end.size import FULL, ROW_FORMAT, TINY, Size
from bench.end_to_end.summary import Figures, bars_of, figures_of, hiding_of, print_bars, print_figures, print_hiding
from bench.end_to_end.task import Decode, Prefill, Task
from support.ctrl_c import ctrl_c_is_one_line

_PACKAGES = ("engram-store", "grpcio", "numpy", "torch", "uvloop")
_JUDGED_MS = (0.0, 1.0, 5.0)
_TASKS: dict[str, Callable[[Size], Task]] = {Prefill.name: Prefill, Decode.name: Decode}
_DRAWN_MS = {"prefill": (20.0, 50.0, 100.0, 200.0, 500.0), "decode": (2.0, 10.0, 20.0, 50.0)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Rounds of what is judged, of what is only drawn, and of each trial of the search for the end of hiding."""

    rounds: int
    drawn_rounds: int
    trial_rounds: int
    halvings: int


_LONG = Effort(rounds=15, drawn_rounds=3, trial_rounds=3, halvings=7)
_QUICK = Effort(rounds=5, drawn_rounds=1, trial_rounds=1, halvings=4)
_SHORTEST = Effort(rounds=1, drawn_rounds=0, trial_rounds=1, halvings=2)


def main() -> int:
    options = _options()
    size = TINY if options.tiny else FULL
    effort = _SHORTEST if options.tiny else _QUICK if options.quick else _LONG
    if options.rounds is not None:
        effort = replace(effort, rounds=options.rounds)
    cores = Cores.of_this_machine()
    layers = " and ".join(map(str, size.layer_ids))
    print(f"preparing the tables of layers {layers}, a node, a proxy before it and the model", flush=True)
    with tempfile.TemporaryDirectory(prefix="engram-store-bench-", dir=options.directory) as directory:
        try:
            with scene(size, Path(directory, "root"), cores) as ready:
                figures, limits = _measure(ready, [_TASKS[name](size) for name in options.tasks], effort)
        except OutputsDiffer as error:
            print(f"FAILED: {error}", file=sys.stderr)
            return 1
    report = _report(size, effort, cores) | {"bars": bars_of(figures), "hiding": limits, "figures": figures}
    print_bars(report["bars"])
    print_hiding(limits)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "end_to_end.json").write_text(json.dumps(report, indent=1) + "\n")
    if not options.no_figures:
        from bench.end_to_end.figures import draw

        draw(figures, limits, options.out)
    print(f"\nwritten to {options.out}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the same shape in a few minutes: fewer rounds")
    parser.add_argument("--tiny", action="store_true", help="a model so small that its figures mean nothing: for tests")
    parser.add_argument("--tasks", nargs="+", choices=tuple(_TASKS), default=tuple(_TASKS), help="only these")
    parser.add_argument("--rounds", type=int, help="paired rounds of what is judged (default: 15; quick: 5)")
    parser.add_argument("--directory", type=Path, help="where to put the tables")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="for the results (default: %(default)s)")
    parser.add_argument("--no-figures", action="store_true", help="write the JSON file only")
    return parser.parse_args()


def _measure(ready: Scene, tasks: Sequence[Task], effort: Effort) -> tuple[list[Figures], list[Figures]]:
    """Return the figures of all cases, and where hiding ends."""
    figures, limits = [], []
    for task in tasks:
        cases = dict.fromkeys(_JUDGED_MS, effort.rounds) | dict.fromkeys(_DRAWN_MS[task.name], effort.drawn_rounds)
        for added_ms, rounds in sorted(cases.items()):
            if rounds:
                of_case = figures_of(
                    task.name, added_ms, run_rounds(ready.decoder, task, ready.forms(added_ms), rounds)
                )
                print_figures(of_case)
                figures += of_case
        for layer in ready.size.layer_ids:
            trial = partial(try_layer, ready, task, layer, rounds=effort.trial_rounds)
            limits.append(hiding_of(task.name, layer, search_end(trial, effort.halvings)))
    return figures, limits


def _report(size: Size, effort: Effort, cores: Cores) -> dict[str, Any]:
    return {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "processor": platform.processor(), "system": platform.platform()},
        "load_average": os.getloadavg(),  # above 2, somebody else used the cores too
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}},
        "cores": {"model": sorted(cores.model), "io": sorted(cores.io)},
        "model": asdict(size) | {"row_format": ROW_FORMAT, "columns": size.config.num_columns},
        "effort": asdict(effort),
    }


if __name__ == "__main__":
    with ctrl_c_is_one_line():
        sys.exit(main())
