"""Overload of one node by one client or by many, and a greedy client beside a modest one."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from overload.attempts import TABLE, Job, Tries, rows_of
from overload.findings import (
    LEAST_GOODPUT,
    LEAST_SHARE,
    MOST_GROWTH,
    MOST_P99,
    MOST_RECOVERY_SECONDS,
    Bar,
    Measured,
    least_beside_refusals,
    seconds_to_recover,
)
from support.credentials import CredentialsOnDisk
from support.environment import with_tests
from support.tables import write_table

DELAY_MS = 20.0
THREADS = 8
CAPACITY = THREADS / (DELAY_MS / 1000)  # lookups a second
MAX_QUEUED = 24  # waits three times as long as a lookup takes, by all clients together
LEAST_BESIDE_REFUSALS = MAX_QUEUED / 2  # so many may be waiting for one client when others wait, too
AT_ONCE_BACKING_OFF = 256  # fetches of clients that wait until they have been answered
CLIENT_TIMEOUT_SECONDS = 180.0
_NUM_ROWS = 4096


@dataclass(frozen=True)
class SlowNode:
    """A node that runs in a process of its own."""

    address: str
    pid: int

    def resident_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * 4096


@contextmanager
def slow_node(directory: Path, *options: str) -> Iterator[SlowNode]:
    root = directory / "root"
    if not root.exists():
        write_table(root, TABLE, rows_of(_NUM_ROWS))
    command = [sys.executable, "-m", "overload.slow_node", str(root), *options]
    log = (directory / "node.log").open("ab")
    with log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=with_tests()) as process:
        try:
            assert process.stdout is not None
            yield SlowNode(process.stdout.readline().split()[-1], process.pid)
        finally:
            process.terminate()


def run_clients(*jobs: Job) -> list[Tries]:
    """Run a process for each job, all at once, and return what each found."""
    command = [sys.executable, "-m", "overload.attempts"]
    processes = [
        subprocess.Popen([*command, json.dumps(dataclasses.asdict(job))], stdout=subprocess.PIPE, env=with_tests())
        for job in jobs
    ]
    try:
        return [Tries(**json.loads(process.communicate(timeout=CLIENT_TIMEOUT_SECONDS)[0])) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def overload(directory: Path, seconds: float, *, clients: int, backs_off: bool = False) -> list[Bar]:
    """Ask five times what the node sustains, whatever becomes of it; or have many fetches wait, as users have them."""
    with slow_node(directory, "--delay-ms", str(DELAY_MS), "--max-queued", str(MAX_QUEUED)) as node:
        job = Job(node.address, seconds, streams=clients, backs_off=backs_off)
        peak_seconds = calm_seconds = max(1.0, seconds / 6)
        calm = Measured(run_clients(dataclasses.replace(job, seconds=calm_seconds, rate=CAPACITY / 4)))
        peak = Measured(
            run_clients(dataclasses.replace(job, seconds=peak_seconds, at_once=2 * THREADS, backs_off=False))
        )
        peak_rate = peak.number("right") / peak_seconds
        before = node.resident_bytes()
        asked = {"at_once": AT_ONCE_BACKING_OFF} if backs_off else {"rate": 5 * peak_rate}
        loaded = Measured(run_clients(dataclasses.replace(job, **asked)))
        grown = node.resident_bytes() / before - 1
        ended = float(loaded.began.max())
        again = Measured(run_clients(dataclasses.replace(job, seconds=max(2.0, calm_seconds), rate=CAPACITY / 4)))
    begins = float(loaded.began.min()) + 1.0
    goodput = loaded.per_second(begins, ended - begins) / peak_rate
    who = f"{clients} connections{', backing off' if backs_off else ''}"
    print(
        f"{who}: peak {peak_rate:.0f} lookups/s, calm p99 {calm.p99() * 1000:.1f} ms; asked for {len(loaded.began)}, "
        f"right {loaded.number('right')}, refused {loaded.number('refused')}, failed {loaded.number('failed')} "
        f"{sorted(set(loaded.failures))[:3]}",
        flush=True,
    )
    bars = [
        Bar(f"{who}: goodput, of the peak", goodput, LEAST_GOODPUT, is_least=True),
        Bar(f"{who}: growth of the node's memory", grown, MOST_GROWTH),
        Bar(f"{who}: wrong rows", loaded.number("wrong") + again.number("wrong"), 0),
        Bar(
            f"{who}: seconds until calm again",
            seconds_to_recover(again, float(again.began.min()), calm.p99()),
            MOST_RECOVERY_SECONDS,
        ),
    ]
    if backs_off:  # what a fetch takes includes its pauses, then; what is accepted at once is judged without
        return bars
    return [
        *bars,
        Bar(f"{who}: p99 of accepted lookups, times calm", loaded.p99() / calm.p99(), MOST_P99),
        Bar(f"{who}: failures that are no refusals", loaded.number("failed") + again.number("failed"), 0),
        Bar(
            f"{who}: accepted beside each refused lookup",
            min(least_beside_refusals(loaded), least_beside_refusals(again)),
            LEAST_BESIDE_REFUSALS,
            is_least=True,
        ),
    ]


def greedy(directory: Path, seconds: float, *, from_disk: bool) -> list[Bar]:
    """One client of 32 streams and one of a single stream, each with a token, both asking for all they can get."""
    tokens = directory / f"tokens-{from_disk}.toml"
    credentials = CredentialsOnDisk(tokens)
    secrets = [credentials.add(name).text() for name in ("greedy", "modest")]
    options = ("--delay-ms", str(DELAY_MS)) if from_disk else ()
    with slow_node(directory, *options, "--tokens", str(tokens)) as node:
        job = Job(node.address, seconds, at_once=2 * THREADS, token=secrets[1], rows=4 if from_disk else 256)
        alone = Measured(run_clients(job)).number("right")
        many = dataclasses.replace(job, streams=32, at_once=32 * 2 * THREADS, token=secrets[0], seed=1)
        beside, others = map(Measured, ([tries] for tries in run_clients(job, many)))
    both = beside.number("right") + others.number("right")
    fair = min(alone, both / 2)
    where = "disk" if from_disk else "RAM"
    found = f"alone {alone}, beside the greedy one {beside.number('right')}, which has {others.number('right')}"
    print(f"{where}: {found}", flush=True)
    wrong = beside.number("wrong") + others.number("wrong")
    return [
        Bar(
            f"{where}: the modest client's part of a fair share",
            beside.number("right") / fair,
            LEAST_SHARE,
            is_least=True,
        ),
        Bar(f"{where}: wrong rows beside a greedy client", wrong, 0),
    ]
