"""Loads that a node must bear, each against a real node in a process of its own, every row checked.

    python tests/load/scenarios.py [--seconds N] [NAME ...]

Prints a line a scenario; the exit status is 1 if one of them did not come out as it must. The short forms are tests.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.processes import NodeProcess
from support.tables import write_table

from engram_store.v1 import lookup_service_pb2
from store_server.commands.load.arrivals import Spacing
from store_server.commands.load.clients import Clients
from store_server.commands.load.job import Run
from store_server.commands.load.measurement import Snapshot
from store_server.commands.load.prepare import Request, prepare_job
from store_server.commands.load.result import Measured
from store_server.commands.load.words import milliseconds
from store_server.storage.fills import index_rows

TABLE, NUM_ROWS, ROW_BYTES = "v41-flash/layer-1", 200_000, 264
COLUMNS = 24  # rows that a token looks up
WAIT_SECONDS = 60.0
SLOW_STREAMS, SLOW_LOOKUPS, SLOW_ROWS = 8, 64, 1024


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A load, and what goes on beside it; a rate of None is a closed loop."""

    says: str
    rows: int
    rate: float | None = None
    spacing: Spacing = Spacing.poisson
    burst: int = 1
    in_flight: int = 64
    zipf: float | None = None
    beside: Callable[[ServedRoot], contextlib.AbstractContextManager[Beside]] | None = None


@dataclass
class Beside:
    """What goes on beside a load; the load's progress drives it, not a clock."""

    seconds_down: float = 0.0

    def see(self, snapshot: Snapshot, process: int | None) -> None:
        """Take in what the clients did."""

    def show(self) -> None:
        """Show nothing."""


@dataclass
class ServedRoot:
    """A data root, and the node that serves it, which may be replaced by another one at the same address."""

    path: Path
    node: NodeProcess = field(init=False)

    def __post_init__(self) -> None:
        self.node = NodeProcess(self.path, is_fresh=True)

    def kill_and_restart(self) -> None:
        self.node.stop(signal.SIGKILL)
        self.node = NodeProcess(self.path, listen=self.node.address, is_fresh=True)

    def close(self) -> None:
        if self.node.process.poll() is None:
            self.node.stop(signal.SIGKILL)


@dataclass
class KillAndRestart(Beside):
    """Kills the node as soon as fetches succeed, and starts it again."""

    root: ServedRoot = field(kw_only=True)
    restarts: int = 0
    _restarting: threading.Thread | None = None

    def see(self, snapshot: Snapshot, process: int | None) -> None:  # noqa: ARG002  # it is the same node for all
        if self._restarting is None and snapshot.completed:
            self._restarting = threading.Thread(target=self._restart)
            self._restarting.start()

    def _restart(self) -> None:
        began = time.monotonic()
        self.root.kill_and_restart()
        self.seconds_down = time.monotonic() - began
        self.restarts += 1

    def close(self) -> None:
        if self._restarting is not None:
            self._restarting.join(WAIT_SECONDS)


def kill_and_restart(root: ServedRoot) -> contextlib.AbstractContextManager[Beside]:
    return contextlib.closing(KillAndRestart(root=root))


@contextlib.contextmanager
def slow_client(root: ServedRoot) -> Iterator[Beside]:
    """Streams that ask for a great many rows and never read one."""
    rows = np.random.default_rng(0).integers(0, NUM_ROWS, (SLOW_LOOKUPS, SLOW_ROWS)).tolist()
    requests = [
        lookup_service_pb2.LookupStreamRequest(id=number, table=TABLE, rows=wanted).SerializeToString()
        for number, wanted in enumerate(rows)
    ]
    end = threading.Event()

    def asked() -> Iterator[bytes]:
        yield from requests
        end.wait(WAIT_SECONDS)

    with grpc.insecure_channel(root.node.address) as channel:
        grpc.channel_ready_future(channel).result(WAIT_SECONDS)
        call = channel.stream_stream("/engram_store.v1.LookupService/LookupStream")
        streams = [call(asked()) for _ in range(SLOW_STREAMS)]
        try:
            for stream in streams:
                next(stream)  # the node is at work; from here on nothing is read
            yield Beside()
        finally:
            end.set()
            for stream in streams:
                stream.cancel()


SCENARIOS = {
    "steady-prefill": Scenario(says="prefill chunks of 256 tokens", rows=256 * COLUMNS, rate=20),
    "decode": Scenario(
        says="a step of 32 sequences every 20 ms", rows=32 * COLUMNS, rate=50, spacing=Spacing.constant, zipf=1.0
    ),
    "single-tokens": Scenario(says="one token at a time, many users", rows=COLUMNS, rate=200, zipf=1.0),
    "burst": Scenario(
        says="24 prompts at once, again and again", rows=64 * COLUMNS, rate=48, spacing=Spacing.constant, burst=24
    ),
    "saturation": Scenario(says="as fast as eight lanes can", rows=4096, in_flight=8),
    "slow-client": Scenario(
        says="a client beside that asks and does not read", rows=32 * COLUMNS, rate=50, beside=slow_client
    ),
    "restart": Scenario(says="the node killed and started again", rows=COLUMNS, rate=50, beside=kill_and_restart),
}


@contextlib.contextmanager
def served_root(directory: Path) -> Iterator[ServedRoot]:
    """Write a table that can be checked by formula, and serve it."""
    write_table(directory / "root", TABLE, index_rows(np.arange(NUM_ROWS), ROW_BYTES))
    with contextlib.closing(ServedRoot(directory / "root")) as root:
        yield root


def run_scenario(scenario: Scenario, root: ServedRoot, *, seconds: float) -> tuple[Measured, Beside]:
    """Put the node under load for `seconds` after a warm-up of a fifth of it."""
    job = prepare_job(
        Request(
            url=root.node.url,
            table=TABLE,
            rows_per_fetch=scenario.rows,
            max_in_flight=scenario.in_flight,
            processes=1,
            timeout_seconds=WAIT_SECONDS,
            seed=1,
            zipf=scenario.zipf,
            replay=None,
            check=None,
            root=None,
        )
    )
    run = Run(
        rate=scenario.rate,
        spacing=scenario.spacing,
        burst=scenario.burst,
        warm_up_seconds=seconds / 5,
        duration_seconds=seconds,
    )
    beside = scenario.beside(root) if scenario.beside else contextlib.nullcontext(Beside())
    with Clients(job) as clients, beside as watcher:
        outcome = clients.run(run, watcher)
    return Measured(job=job, run=run, tally=outcome.tally), watcher


def what_went_wrong(measured: Measured) -> str | None:
    """Every fetch that was due brought its rows, and all of them were right: clients try again by themselves."""
    tally = measured.tally
    if measured.job.check.value != "index" or not tally.rows_checked:
        return "rows were not checked"
    if tally.rows_wrong:
        return f"{tally.rows_wrong} wrong rows, the first is row {tally.first_wrong_row}"
    if not tally.completed or tally.completed + tally.never_started != tally.num_due:
        return f"{tally.completed} of {tally.num_due} fetches succeeded: {tally.messages}"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SCENARIOS)} (default: all)")
    parser.add_argument("--seconds", type=float, default=20.0, help="measured time of each (default: %(default)s)")
    options = parser.parse_args()
    if unknown := set(options.names) - SCENARIOS.keys():
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    failed = False
    print(f"{'scenario':<15} {'fetches/s':>9} {'rows/s':>9} {'p50':>10} {'p99':>10} {'longest':>10}  every row right?")
    with tempfile.TemporaryDirectory(prefix="engram-store-load-") as directory, served_root(Path(directory)) as root:
        for name in options.names or SCENARIOS:
            measured, _ = run_scenario(SCENARIOS[name], root, seconds=options.seconds)
            wrong = what_went_wrong(measured)
            failed |= wrong is not None
            print(line(name, measured, wrong or f"yes, {measured.tally.rows_checked:,}; {SCENARIOS[name].says}"))
    return int(failed)


def line(name: str, measured: Measured, verdict: str) -> str:
    times = measured.tally.latencies
    p50, p99, longest = (milliseconds(value) for value in (times.percentile(50), times.percentile(99), times.most))
    rate, rows = measured.fetches_per_second, measured.fetches_per_second * measured.job.rows_per_fetch
    return f"{name:<15} {rate:>9,.1f} {rows:>9,.0f} {p50:>10} {p99:>10} {longest:>10}  {verdict}"


if __name__ == "__main__":
    sys.exit(main())
