"""Rows a second of each backend through a real node, beside each other in one run, the rows checked after each round.

    python tests/bench/backends.py [--rows N] [--rounds N]

Rounds of the backends take turns, so that a machine that slows down slows all of them; what counts is the ratio to
`memory`, round by round.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import engram_client

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.processes import node_process
from support.rows import random_rows
from support.tables import write_table

BACKENDS = ("memory", "mmap", "lmdb")
ROW_BYTES = 264
IDS_PER_FETCH = 4096
IN_FLIGHT = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of each table (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=21, help="rounds of each backend (default: %(default)s)")
    parser.add_argument("--fetches", type=int, default=100, help="fetches a round (default: %(default)s)")
    options = parser.parse_args()
    rows = random_rows(options.rows, ROW_BYTES)
    with tempfile.TemporaryDirectory(prefix="engram-store-bench-") as directory:
        root = Path(directory, "root")
        for name in BACKENDS:
            write_table(root, name, rows, backend="lmdb" if name == "lmdb" else "mmap")
        with node_process(root, "--in-memory", "memory") as node:
            rates = asyncio.run(measure(node.url, rows, options.rounds, options.fetches))
    report(rates)


async def measure(url: str, rows: np.ndarray, rounds: int, fetches: int) -> dict[str, list[float]]:
    """Rows a second of each backend, a number a round."""
    ids = np.random.default_rng(1).integers(0, len(rows), (IN_FLIGHT, IDS_PER_FETCH))
    expected = rows[ids]
    buffers = np.empty_like(expected)
    rates: dict[str, list[float]] = {name: [] for name in BACKENDS}
    async with engram_client.connect(url) as store:
        tables = {name: await store.table(name) for name in BACKENDS}
        assert all(table.info.backend == name for name, table in tables.items())
        for round_number in range(-1, rounds):  # the first one warms up
            for name, table in tables.items():
                buffers.fill(0)
                seconds = await one_round(table, ids, buffers, fetches)
                if not np.array_equal(buffers, expected):
                    raise SystemExit(f"{name}: wrong rows")
                if round_number >= 0:
                    rates[name].append(fetches * IDS_PER_FETCH / seconds)
    return rates


async def one_round(table: engram_client.Table, ids: np.ndarray, buffers: np.ndarray, fetches: int) -> float:
    """Seconds for `fetches` fetches, IN_FLIGHT at a time, each lane with ids and a buffer of its own."""

    async def lane(number: int) -> None:
        for _ in range(number, fetches, IN_FLIGHT):
            await table.fetch(ids[number], out=buffers[number])

    began = time.perf_counter()
    await asyncio.gather(*(lane(number) for number in range(IN_FLIGHT)))
    return time.perf_counter() - began


def report(rates: dict[str, list[float]]) -> None:
    print(f"{IDS_PER_FETCH} ids a fetch, {IN_FLIGHT} in flight, {ROW_BYTES}-byte rows, checked after each round")
    print(f"{'backend':<8} {'million rows/s':>14} {'ratio to memory':>16} {'worst':>6} {'best':>6}")
    for name, measured in rates.items():
        ratios = [rate / base for rate, base in zip(measured, rates["memory"], strict=True)]
        median_rate, median_ratio = statistics.median(measured) / 1e6, statistics.median(ratios)
        print(f"{name:<8} {median_rate:>14.2f} {median_ratio:>16.2f} {min(ratios):>6.2f} {max(ratios):>6.2f}")


if __name__ == "__main__":
    main()
