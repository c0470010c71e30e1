"""`python -m bench.production [--rounds N]`: what metrics, TLS, tokens and traces cost, in rows a second.

All nodes serve the same table from RAM. Each is measured in pairs of short rounds with the node that it is held
against, first and second in turn, so that a machine that slows down slows both; what counts are ratios. A second node
with nothing but metrics tells how much two alike differ. What traces cost that nobody asked for is seen beside a node
from whose code they were cut out. Each figure stands beside what it has to be; the exit status
is 1 if one is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler, TraceIdRatioBased
from support.certificates import make_authority, make_certificate
from support.credentials import CredentialsOnDisk
from support.environment import with_tests
from support.processes import node_process
from support.rows import random_rows
from support.tables import write_table

import engram_client

NUM_ROWS, ROW_BYTES = 200_000, 264
FETCHES = {16: 1500, 4096: 80}  # fetches a round, by ids a fetch
IN_FLIGHT = 8
PLAIN = "plain"


@dataclass(frozen=True)
class Subject:
    """A node as its client reaches it, and what its rows a second have to be beside those of another."""

    name: str
    url: str
    beside: str = PLAIN
    least: float | None = None
    options: dict[str, object] = field(default_factory=dict)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100, help="pairs of rounds of each node (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="rounds of a few fetches, to see that it runs")
    given = parser.parse_args()
    fetches = {size: max(IN_FLIGHT, number // 50) if given.quick else number for size, number in FETCHES.items()}
    rows = random_rows(NUM_ROWS, ROW_BYTES)
    with tempfile.TemporaryDirectory(prefix="engram-store-bench-") as directory, ExitStack() as stack:
        write_table(Path(directory, "root"), "t", rows)
        subjects = _subjects(Path(directory), stack, is_fresh=not given.quick)
        return 0 if asyncio.run(measure(subjects, rows, given.rounds, fetches)) else 1


def _subjects(directory: Path, stack: ExitStack, *, is_fresh: bool) -> list[Subject]:
    root, credentials = directory / "root", CredentialsOnDisk(directory / "tokens.toml")
    authority = make_authority(directory, "authority")
    shown = make_certificate(directory, "node", authority)
    token = credentials.add("bench", "read", "*").text()

    def node(*options: str) -> str:
        started = node_process(root, "--in-memory", "t", *options, is_fresh=is_fresh)
        return stack.enter_context(started).address

    metrics = ("--metrics-listen", "127.0.0.1:0")
    bare, whole, untraced = (
        stack.enter_context(_bare_node(root, *without))
        for without in (("--without", "metrics"), (), ("--without", "tracing"))
    )
    plain, again = (stack.enter_context(_scraped(root, metrics, is_fresh=is_fresh)) for _ in "ab")
    traced = node("--trace", "otlp")
    return [
        Subject(PLAIN, f"grpc://{plain}", beside="bare", least=0.97),
        Subject("bare", f"grpc://{bare}", beside="bare"),
        Subject("no tracing", f"grpc://{untraced}", beside="no tracing"),
        Subject("traces off", f"grpc://{whole}", beside="no tracing", least=0.95),  # two alike differ by as much
        Subject("plain again", f"grpc://{again}"),
        Subject("token", f"grpc://{node('--tokens', str(credentials.path))}", least=0.97, options={"token": token}),
        Subject(
            "TLS",
            f"grpcs://{node('--tls-cert', str(shown.cert), '--tls-key', str(shown.key))}",
            least=0.65,
            options={"ca_file": authority.cert},
        ),
        Subject("traces, of nothing", f"grpc://{traced}"),
        Subject("traces, of 1 %", f"grpc://{traced}", options={"tracer": _tracer(TraceIdRatioBased(0.01))}),
        Subject("traces, of all", f"grpc://{traced}", options={"tracer": _tracer(ALWAYS_ON)}),
    ]


def _tracer(sampler: Sampler) -> object:
    return TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer("bench")


@contextmanager
def _bare_node(root: Path, *without: str) -> Iterator[str]:
    command = [sys.executable, "-m", "bench.bare_node", str(root), *without]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=with_tests())
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _scraped(root: Path, metrics: tuple[str, ...], *, is_fresh: bool) -> Iterator[str]:
    """A node whose metrics somebody looks at every second, ten times as often as is usual."""
    over = threading.Event()
    with node_process(root, "--in-memory", "t", *metrics, is_fresh=is_fresh) as node:
        assert node.logged("metrics are shown")
        line = next(line for line in node.log.splitlines() if "metrics are shown" in line)
        scraper = threading.Thread(target=_scrape, args=(re.search(r"address='([^']+)'", line)[1], over))
        scraper.start()
        try:
            yield node.address
        finally:
            over.set()
            scraper.join()


def _scrape(address: str, over: threading.Event) -> None:
    while not over.wait(1.0):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as shown:
            shown.read()


async def measure(subjects: list[Subject], rows: np.ndarray, rounds: int, fetches_of: dict[int, int]) -> bool:
    """Print a line for each node and number of ids; tell whether each is what it has to be."""
    is_right = True
    async with AsyncExitStack() as stack:
        tables = {}
        for subject in subjects:
            store = await stack.enter_async_context(engram_client.connect(subject.url, **subject.options))
            tables[subject.name] = await store.table("t")
        for size, fetches in fetches_of.items():
            ids = np.random.default_rng(1).integers(0, NUM_ROWS, (IN_FLIGHT, size))
            expected = rows[ids]
            for subject in subjects:
                pair = [tables[subject.name], tables[subject.beside]]
                seconds = await _seconds_of_pairs(pair, ids, expected, fetches, rounds)
                is_right &= _report(subject, size, fetches * size / seconds[:, 0], seconds[:, 1] / seconds[:, 0])
    return is_right


async def _seconds_of_pairs(
    pair: list[engram_client.Table], ids: np.ndarray, expected: np.ndarray, fetches: int, rounds: int
) -> np.ndarray:
    """Return what the rounds of both took, (rounds, 2)."""
    for table in pair:
        await one_round(table, ids, expected, fetches)  # warms up
    seconds = np.empty((rounds, 2))
    for number in range(rounds):
        for place in (0, 1) if number % 2 else (1, 0):
            seconds[number, place] = await one_round(pair[place], ids, expected, fetches)
    return seconds


def _report(subject: Subject, size: int, rates: np.ndarray, ratios: np.ndarray) -> bool:
    """Print rows a second and their ratio, the median of all pairs and where that lies with 95 % confidence."""
    middle = float(np.median(ratios))
    is_met = subject.least is None or middle >= subject.least
    verdict = "" if subject.least is None else f"{'met' if is_met else 'MISSED'}, at least {subject.least:g}"
    low, high = _interval_of_median(ratios)
    print(
        f"{size:>5} ids x {IN_FLIGHT}  {subject.name:<20}{np.median(rates) / 1e6:>6.2f} M rows/s  "
        f"{middle:.3f} of {subject.beside:<10} ({low:.3f} to {high:.3f})  {verdict}",
        flush=True,
    )
    return is_met


def _interval_of_median(values: np.ndarray) -> tuple[float, float]:
    """By order statistics: as many values lie on either side as of a coin's throws, in 95 of 100 cases."""
    ordered, off = np.sort(values), 0.98 * len(values) ** 0.5
    below = max(0, math.floor(len(values) / 2 - off))
    return float(ordered[below]), float(ordered[len(values) - 1 - below])


async def one_round(table: engram_client.Table, ids: np.ndarray, expected: np.ndarray, fetches: int) -> float:
    """Seconds for `fetches` fetches, IN_FLIGHT at a time, each lane with ids and a buffer of its own."""
    buffers = np.zeros_like(expected)

    async def lane(number: int) -> None:
        for _ in range(number, fetches, IN_FLIGHT):
            await table.fetch(ids[number], out=buffers[number])

    began = time.perf_counter()
    await asyncio.gather(*(lane(number) for number in range(IN_FLIGHT)))
    seconds = time.perf_counter() - began
    if not np.array_equal(buffers, expected):
        raise SystemExit("wrong rows")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
