"""What tokens cost: nanoseconds a question, and rows a second through a node that asks for one and one that does not.

    python tests/bench/tokens.py [--rounds N]

Rounds of the two nodes take turns, so that a machine that slows down slows both; what counts is their ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
import timeit
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np

import engram_client
from store_server.access.caller import Scope
from store_server.access.credentials import parse_credentials
from store_server.access.known_callers import KnownCallers
from store_server.access.shown import Shown

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.credentials import CredentialsOnDisk
from support.processes import node_process
from support.rows import random_rows
from support.tables import write_table

NUM_ROWS, ROW_BYTES = 1_000_000, 264
SIZES = {16: 2000, 4096: 100}  # ids a fetch, fetches a round
IN_FLIGHT = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21, help="rounds of each node (default: %(default)s)")
    rounds = parser.parse_args().rounds
    rows = random_rows(NUM_ROWS, ROW_BYTES)
    with tempfile.TemporaryDirectory(prefix="engram-store-bench-") as directory:
        root, written = Path(directory, "root"), CredentialsOnDisk(Path(directory, "tokens.toml"))
        write_table(root, "v41/layer-1", rows)
        token = written.add("bench", "read", "v41/*")
        report_questions(written, token)
        with node_process(root) as open_node, node_process(root, "--tokens", str(written.path)) as asking:
            urls = {"open": (open_node.url, None), "tokens": (asking.url, token.text())}
            asyncio.run(measure(urls, rows, rounds))


def report_questions(written: CredentialsOnDisk, token: object) -> None:
    known = KnownCallers(parse_credentials(written.path.read_bytes()))
    caller = known.find(Shown(token))
    for what, ask in (
        ("may(READ, table), asked for each lookup", lambda: caller.may(Scope.READ, "v41/layer-1")),
        ("find(token), asked for each call", lambda: known.find(Shown(token))),
    ):
        seconds = min(timeit.repeat(ask, number=100_000, repeat=7)) / 100_000
        print(f"{what:<42} {seconds * 1e9:>8.0f} ns")


async def measure(urls: dict[str, tuple[str, str | None]], rows: np.ndarray, rounds: int) -> None:
    async with AsyncExitStack() as stack:
        tables = {}
        for name, (url, token) in urls.items():
            store = await stack.enter_async_context(engram_client.connect(url, token=token))
            tables[name] = await store.table("v41/layer-1")
        for size, fetches in SIZES.items():
            ids = np.random.default_rng(1).integers(0, NUM_ROWS, (IN_FLIGHT, size))
            rates: dict[str, list[float]] = {name: [] for name in urls}
            for number in range(-1, rounds):  # the first one warms up
                for name in sorted(tables, reverse=bool(number % 2)):
                    seconds = await one_round(tables[name], ids, rows[ids], fetches)
                    if number >= 0:
                        rates[name].append(fetches * size / seconds)
            ratios = [asked / free for asked, free in zip(rates["tokens"], rates["open"], strict=True)]
            median = statistics.median(rates["tokens"]) / 1e6
            low, middle, high = statistics.quantiles(ratios, n=4)
            print(f"{size:>5} ids a fetch: {median:.2f} M rows/s, {middle:.3f} of a node that asks nobody ", end="")
            print(f"(middle half {low:.3f} to {high:.3f})")


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
    main()
