"""How the cost of a row grows: with rows a fetch, with tables, with the size of a table, with clients.

    PYTHONPATH=tests python -m bench.store_bench.growth [--largest-gib N] [--directory DIR] [--out DIRECTORY]

Each of the four is varied by itself. Rounds of all its steps take turns; what counts is the cost of a row as a ratio to
the first step's in the same round. Every row is checked. Writes growth.json and growth.svg.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bench.store_bench.client_process import Case, ClientProcess
from bench.store_bench.lanes import on_the_loop
from bench.store_bench.placement import placements
from bench.store_bench.questions import ROW_BYTES, RowFile
from bench.store_bench.round import Fetch, Round
from numpy.typing import NDArray
from support.processes import NodeProcess, node_process
from support.tables import write_table

import engram_client

_CASE = Case(placements()["shared"], ids_per_fetch=4096, in_flight=8)
_ROWS = 500_000
_ROWS_A_FETCH = (1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536)
_TABLES = (1, 4, 16, 64)
_ROWS_OF_MANY_TABLES = 20_000
_CLIENTS = (1, 2, 4, 8)
_FEWEST_GIB = 1 / 16
Costs = dict[int | float, list[float]]  # microseconds a row by step, a number a round


class TablesOfNode:
    """A client of a node that runs already; its fetches go to the node's tables by turns."""

    name = notes = ""

    def __init__(self, url: str) -> None:
        self._url = url
        self._runner = asyncio.Runner()
        self._store: engram_client.Store | None = None
        self._tables: Iterator[engram_client.Table] = iter(())

    def start_server(self, file: RowFile, directory: Path) -> list[int]:  # noqa: ARG002
        return []

    def connect(self) -> None:
        self._runner.run(self._connect())

    def run(self, round_: Round) -> None:
        self._runner.run(on_the_loop(round_, self._fetch))

    def stop(self) -> None:
        if self._store is not None:
            self._runner.run(self._store.close())
        self._runner.close()

    async def _connect(self) -> None:
        self._store = engram_client.connect(self._url)
        names = [table.name for table in await self._store.tables()]
        self._tables = itertools.cycle([await self._store.table(name) for name in names])

    async def _fetch(self, fetch: Fetch) -> NDArray[np.uint8]:
        return await next(self._tables).fetch(fetch.ids, out=fetch.out)


class Growth:
    """Runs nodes and clients of them in `directory`; `microseconds_a_row` is one round of some clients."""

    def __init__(self, directory: Path, seconds: float) -> None:
        self.stack = contextlib.ExitStack()
        self._directory, self._seconds = directory, seconds
        self._numbers = itertools.count()

    def node(self, num_rows: int, num_tables: int = 1) -> tuple[RowFile, NodeProcess]:
        """Serve the same random rows under so many names."""
        directory = self._new_directory()
        file = RowFile.write(directory, num_rows)
        for number in range(num_tables):
            write_table(directory / "root", f"table-{number}", file.rows())
        return file, self.stack.enter_context(node_process(directory / "root", is_fresh=True))

    def clients(self, file: RowFile, node: NodeProcess, number: int = 1) -> list[ClientProcess]:
        make = partial(TablesOfNode, node.url)
        started = []
        for _ in range(number):
            started.append(ClientProcess(make, file, self._new_directory()))
            self.stack.callback(started[-1].stop)
        return started

    def microseconds_a_row(self, clients: list[ClientProcess], case: Case = _CASE) -> float:
        """Let all clients fetch at the same time; returns the time for each row that any of them got."""
        with ThreadPoolExecutor(len(clients)) as threads:
            rounds = [one.round for one in threads.map(lambda client: client.measure(case, self._seconds), clients)]
        return 1e6 / sum(one.num_rows / one.seconds for one in rounds)

    def _new_directory(self) -> Path:
        path = self._directory / str(next(self._numbers))
        path.mkdir()
        return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest-gib", type=float, default=4.0, help="largest table; needs twice as much disk")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each step (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.3, help="length of a round (default: %(default)s)")
    parser.add_argument("--directory", type=Path, help="where to put the tables")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="for the results (default: %(default)s)")
    options = parser.parse_args()
    axes = {
        "rows a fetch": with_rows_a_fetch,
        "tables": with_tables,
        "size of the table, GiB": partial(with_size, largest_gib=options.largest_gib),
        "clients": with_clients,
    }
    report = {}
    for name, axis in axes.items():
        with tempfile.TemporaryDirectory(prefix="engram-store-bench-", dir=options.directory) as directory:
            growth = Growth(Path(directory), options.seconds)
            with growth.stack:
                steps = axis(growth)
                report[name] = summary(by_turns(steps, options.rounds))
        print_axis(name, report[name])
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "growth.json").write_text(json.dumps(report, indent=1) + "\n")
    draw(report, options.out / "growth.svg")


Steps = dict[int | float, Callable[[], float]]  # by step, a round of it


def with_rows_a_fetch(growth: Growth) -> Steps:
    file, node = growth.node(_ROWS)
    steps = {}
    for number in _ROWS_A_FETCH:
        case = Case(_CASE.placement, number, _CASE.in_flight)
        steps[number] = partial(growth.microseconds_a_row, growth.clients(file, node), case)
    return steps


def with_tables(growth: Growth) -> Steps:
    nodes = {number: growth.node(_ROWS_OF_MANY_TABLES, number) for number in _TABLES}
    return {number: partial(growth.microseconds_a_row, growth.clients(*node)) for number, node in nodes.items()}


def with_size(growth: Growth, *, largest_gib: float) -> Steps:
    sizes = [_FEWEST_GIB]
    while sizes[-1] < largest_gib:
        sizes.append(min(4 * sizes[-1], largest_gib))
    nodes = {gib: growth.node(int(gib * (1 << 30)) // ROW_BYTES) for gib in sizes}
    return {gib: partial(growth.microseconds_a_row, growth.clients(*node)) for gib, node in nodes.items()}


def with_clients(growth: Growth) -> Steps:
    file, node = growth.node(_ROWS)
    most = growth.clients(file, node, max(_CLIENTS))
    return {number: partial(growth.microseconds_a_row, most[:number]) for number in _CLIENTS}


def by_turns(steps: Steps, rounds: int) -> Costs:
    costs: Costs = {step: [] for step in steps}
    for round_number in range(-1, rounds):  # the first one warms up
        for step, measure in steps.items():
            cost = measure()
            if round_number >= 0:
                costs[step].append(cost)
    return costs


def summary(costs: Costs) -> list[dict[str, Any]]:
    """Median microseconds a row of each step, and the ratio to the first step round by round."""
    first = next(iter(costs.values()))
    found = []
    for step, measured in costs.items():
        ratios = [cost / base for cost, base in zip(measured, first, strict=True)]
        ratio = {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
        found.append({"step": step, "us_per_row": statistics.median(measured), "to_first": ratio})
    return found


def print_axis(name: str, steps: list[dict[str, Any]]) -> None:
    print(f"\n{name:<24} {'us a row':>9} {'to the first':>20}", flush=True)
    for one in steps:
        ratio = one["to_first"]
        spread = f"{ratio['median']:.3g} ({ratio['low']:.2g}..{ratio['high']:.2g})"
        print(f"{one['step']:<24g} {one['us_per_row']:>9.3f} {spread:>20}")


def draw(report: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Draw the cost of a row along each axis."""
    import matplotlib.pyplot as plt

    _, panels = plt.subplots(1, len(report), figsize=(3.4 * len(report), 3.4))
    for panel, (name, steps) in zip(panels, report.items(), strict=True):
        x, costs = [one["step"] for one in steps], [one["us_per_row"] for one in steps]
        panel.plot(x, costs, marker="o", color="#0072B2")
        panel.set_xscale("log", base=2)
        panel.set_xticks(x[:: 2 if len(x) > 6 else 1], [f"{step:,g}" for step in x[:: 2 if len(x) > 6 else 1]])
        panel.set_xlabel(name)
        panel.grid(visible=True, alpha=0.3)
        if max(costs) > 10 * min(costs):
            panel.set_yscale("log")
        else:
            panel.set_ylim(0, 2 * max(costs))
    panels[0].set_ylabel("microseconds a row")
    plt.tight_layout()
    for suffix in (".svg", ".png"):
        plt.savefig(path.with_suffix(suffix), dpi=110)
    plt.close()


if __name__ == "__main__":
    main()
