"""Rows that are not in RAM: read ahead beside faulted in one by one, and what warm fetches of another table notice.

    python tests/bench/cold_rows.py [--gib N] [--rounds N] [--warm-rounds N] [--directory DIR]

Both ways of fetching take turns in one run, each time with other random rows and with every row checked; the page cache
forgets the table first. Then a node, whose memory budget is a sixteenth of the table, answers warm fetches in turns:
alone, beside a client that fetches cold rows, and beside a process of low priority that reads cold rows as the node
would and never speaks to it, which shows what so much reading from this disk costs any neighbour. What counts are the
ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import engram_client
from store_server.gather_threads import NICENESS_OF_GATHERING
from store_server.storage import DataRoot, TableSpec, root_writer
from store_server.storage.files.version_files import open_files
from store_server.storage.pages.residency import residency_of
from store_server.storage.pages.resident_set import LEAST_BUDGET_BYTES

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.ctrl_c import ctrl_c_is_one_line, node_without_ctrl_c
from support.rows import random_rows
from support.tables import write_table

ROW_BYTES = 264
IDS_PER_FETCH = 4096
WARM_ROWS, WARM_IDS = 100_000, 16
PIECE_ROWS = 1 << 18
Gather = Callable[[np.ndarray, np.ndarray], object]


@dataclass
class WarmFetches:
    """How long warm fetches took, and how many cold rows a neighbour had meanwhile."""

    seconds: list[float] = field(default_factory=list)
    cold_rows: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=4.0, help="size of the cold table (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=21, help="rounds of each way (default: %(default)s)")
    parser.add_argument("--warm-rounds", type=int, help="rounds of warm fetches (default: as many)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of warm fetches a round (default: %(default)s)")
    parser.add_argument("--directory", type=Path, help="where to put the tables, on the disk to be measured")
    parser.add_argument("--fetch-cold-from", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--read-cold-in", metavar="ROOT", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fetch_cold_from:
        asyncio.run(fetch_cold_until_told(options.fetch_cold_from))
    elif options.read_cold_in:
        asyncio.run(read_cold_until_told(options.read_cold_in))
    else:
        measure(options)


def measure(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="engram-store-bench-", dir=options.directory) as directory:
        root = Path(directory, "root")
        print(f"preparing a table of {options.gib:g} GiB under {directory}", flush=True)
        write_numbered_rows(root, "cold", int(options.gib * (1 << 30)) // ROW_BYTES)
        write_table(root, "warm", random_rows(WARM_ROWS, ROW_BYTES))
        report_times(*compare_with_faults(root, options.rounds))
        measuring = warm_beside_cold(root, options.warm_rounds or options.rounds, options.seconds)
        try:
            report_latencies(asyncio.run(measuring))
        finally:
            measuring.close()  # an interrupt may have come before it began


def write_numbered_rows(root: Path, name: str, num_rows: int) -> None:
    """Publish a table whose rows begin with their number; the rest of them depends on it."""
    spec = TableSpec(num_rows=num_rows, row_bytes=ROW_BYTES)
    with root_writer(root) as writer, writer.new_version(name, spec) as version:
        for first in range(0, num_rows, PIECE_ROWS):
            version.append(numbered_rows(np.arange(first, min(first + PIECE_ROWS, num_rows))))
        version.publish()


def numbered_rows(numbers: np.ndarray) -> np.ndarray:
    words = numbers.astype(np.uint64)[:, None] * np.arange(1, ROW_BYTES // 8 + 1, dtype=np.uint64)
    return words.view(np.uint8)


def compare_with_faults(root: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds to fetch cold rows with read-ahead and by faults, a number a round."""
    chosen, ahead, faulted = np.random.default_rng(1), [], []
    data_root = DataRoot.open(root)
    version = data_root.current_version("cold")
    path = data_root.stored_version("cold", version).data_path
    for _ in range(rounds):
        forget(root, "cold")
        backend = data_root.open_backend("cold", version)
        ids = chosen.integers(0, backend.num_rows, (2, IDS_PER_FETCH))
        faulted.append(seconds_of(faulting(path), ids[0]))
        ahead.append(seconds_of(backend.gather, ids[1]))
        backend.close()
    return ahead, faulted


def faulting(path: Path) -> Gather:
    """Gather from a map of a file with MADV_RANDOM: each row's page is read when it is touched."""
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    mapped.madvise(mmap.MADV_RANDOM)
    table = np.frombuffer(mapped, np.uint8)[: len(mapped) // ROW_BYTES * ROW_BYTES].reshape(-1, ROW_BYTES)
    return lambda rows, out: np.take(table, rows, axis=0, out=out, mode="clip")


def seconds_of(gather: Gather, rows: np.ndarray) -> float:
    out = np.zeros((len(rows), ROW_BYTES), np.uint8)
    began = time.perf_counter()
    gather(rows, out)
    seconds = time.perf_counter() - began
    if not np.array_equal(out, numbered_rows(rows)):
        raise SystemExit("wrong rows")
    return seconds


def forget(root: Path, name: str) -> None:
    """Have the page cache forget a table, and make sure that it did."""
    data_root = DataRoot.open(root)
    stored = data_root.stored_version(name, data_root.current_version(name))
    with stored.data_path.open("rb") as file, contextlib.closing(open_files(stored)) as files:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        found = residency_of(files.map().maps)
    if found is None or found.resident_bytes > 0.01 * found.mapped_bytes:
        raise SystemExit(f"the page cache keeps the table ({found}); choose a --directory on a disk")


def table_bytes(root: Path, name: str) -> int:
    data_root = DataRoot.open(root)
    return data_root.manifest(name, data_root.current_version(name)).num_bytes


async def warm_beside_cold(root: Path, rounds: int, seconds: float) -> dict[str, WarmFetches]:
    """Fetch warm rows alone and beside the two kinds of neighbours, in turns."""
    expected = random_rows(WARM_ROWS, ROW_BYTES)
    forget(root, "cold")
    budget = max(LEAST_BUDGET_BYTES, table_bytes(root, "cold") // 16) + table_bytes(root, "warm")
    with node_without_ctrl_c(root, "--memory-budget", str(budget)) as node:
        neighbours = {
            "alone": None,
            "beside cold fetches": ("--fetch-cold-from", node.url),
            "beside another reader": ("--read-cold-in", str(root)),
        }
        found = {name: WarmFetches() for name in neighbours}
        async with engram_client.connect(node.url) as store:
            warm = await store.table("warm")
            await fetch_warm(warm, expected, seconds)
            for _ in range(rounds):
                for name, arguments in neighbours.items():
                    with neighbour(arguments) as process:
                        found[name].seconds += await fetch_warm(warm, expected, seconds)
                        if process:
                            found[name].cold_rows += int((await asyncio.to_thread(process.communicate, "\n"))[0])
    return found


async def fetch_warm(table: engram_client.Table, expected: np.ndarray, seconds: float) -> list[float]:
    chosen, took = np.random.default_rng(2), []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        ids = chosen.integers(0, WARM_ROWS, WARM_IDS)
        rows = await table.fetch(ids)
        took.append(time.perf_counter() - began)
        if not np.array_equal(rows, expected[ids]):
            raise SystemExit("wrong rows")
    return took


@contextlib.contextmanager
def neighbour(arguments: tuple[str, str] | None) -> Iterator[subprocess.Popen[str] | None]:
    """Run this file with `arguments`, until it is sent a line; it prints how many cold rows it had."""
    if arguments is None:
        yield None
        return
    command = [sys.executable, __file__, *arguments]
    # In a process group of its own it does not hear the terminal's Ctrl-C: it is ended with the block.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    ) as process:
        try:
            assert process.stdout.readline() == "fetching\n"
            yield process
        finally:
            process.kill()


async def fetch_cold_until_told(url: str) -> None:
    async with engram_client.connect(url) as store:
        table = await store.table("cold")
        await until_told(table.num_rows, table.fetch)


async def read_cold_until_told(root: Path) -> None:
    """Gather with the node's code and at the priority of its gathering threads."""
    os.setpriority(os.PRIO_PROCESS, 0, NICENESS_OF_GATHERING)
    data_root = DataRoot.open(root)
    out = np.zeros((IDS_PER_FETCH, ROW_BYTES), np.uint8)
    with contextlib.closing(data_root.open_backend("cold", data_root.current_version("cold"))) as backend:

        async def gather(ids: np.ndarray) -> np.ndarray:
            await asyncio.to_thread(backend.gather, ids, out)
            return out

        await until_told(backend.num_rows, gather)


async def until_told(num_rows: int, fetch: Callable[[np.ndarray], Awaitable[np.ndarray]]) -> None:
    """Fetch random rows until a line arrives; print how many they were."""
    chosen, fetched = np.random.default_rng(), 0
    told = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    print("fetching", flush=True)
    while not told.done():
        ids = chosen.integers(0, num_rows, IDS_PER_FETCH)
        rows = await fetch(ids)
        if not np.array_equal(rows[:, :8].view(np.uint64)[:, 0], ids.astype(np.uint64)):
            raise SystemExit("wrong rows")
        fetched += len(ids)
    print(fetched)


def report_times(ahead: list[float], faulted: list[float]) -> None:
    ratios = [one / other for one, other in zip(ahead, faulted, strict=True)]
    print(f"{IDS_PER_FETCH} cold rows of {ROW_BYTES} bytes, every row checked")
    print(f"faulted one by one  {statistics.median(faulted) * 1e3:8.1f} ms")
    print(f"read ahead          {statistics.median(ahead) * 1e3:8.1f} ms")
    print(f"time ratio          {statistics.median(ratios):8.3f}  (worst {max(ratios):.3f}, best {min(ratios):.3f})")


def report_latencies(found: dict[str, WarmFetches]) -> None:
    print(f"{WARM_IDS} warm rows at a time")
    alone = np.percentile(found["alone"].seconds, 99)
    for name, fetches in found.items():
        p50, p90, p99 = np.percentile(fetches.seconds, (50, 90, 99))
        print(
            f"{name:<21} p50 {p50 * 1e3:6.2f} ms, p90 {p90 * 1e3:6.2f} ms, p99 {p99 * 1e3:6.2f} ms, "
            f"p99 ratio {p99 / alone:5.2f}, {fetches.cold_rows:>9,} cold rows meanwhile"
        )


if __name__ == "__main__":
    with ctrl_c_is_one_line():
        main()
