"""Rows that are not in RAM: read ahead beside faulted in one by one, and what warm fetches of another table notice.

    python tests/bench/cold_rows.py [--gib N] [--rounds N] [--directory DIR]

Both ways of fetching take turns in one run, each time with other random rows and with every row checked; the page cache
forgets the table first. Then a node, whose memory budget is a sixteenth of the table, answers warm fetches, alone and
beside a client that fetches cold rows, in turns. What counts are the two ratios.
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
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import engram_client
from store_server.storage import DataRoot, TableSpec, root_writer
from store_server.storage.files.version_files import open_files
from store_server.storage.pages.residency import residency_of
from store_server.storage.pages.resident_set import LEAST_BUDGET_BYTES

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.processes import node_process
from support.rows import random_rows
from support.tables import write_table

ROW_BYTES = 264
IDS_PER_FETCH = 4096
WARM_ROWS, WARM_IDS = 100_000, 16
PIECE_ROWS = 1 << 18
Gather = Callable[[np.ndarray, np.ndarray], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=4.0, help="size of the cold table (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=21, help="rounds of each way (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of warm fetches a round (default: %(default)s)")
    parser.add_argument("--directory", type=Path, help="where to put the tables, on the disk to be measured")
    parser.add_argument("--fetch-cold-from", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fetch_cold_from:
        asyncio.run(fetch_cold_until_told(options.fetch_cold_from))
        return
    with tempfile.TemporaryDirectory(prefix="engram-store-bench-", dir=options.directory) as directory:
        root = Path(directory, "root")
        write_numbered_rows(root, "cold", int(options.gib * (1 << 30)) // ROW_BYTES)
        write_table(root, "warm", random_rows(WARM_ROWS, ROW_BYTES))
        report_times(*compare_with_faults(root, options.rounds))
        report_latencies(*asyncio.run(warm_beside_cold(root, options.rounds, options.seconds)))


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


async def warm_beside_cold(root: Path, rounds: int, seconds: float) -> tuple[list[float], list[float], int]:
    """Seconds of each warm fetch alone and beside cold ones; and how many cold rows were fetched."""
    alone, beside, num_cold = [], [], 0
    expected = random_rows(WARM_ROWS, ROW_BYTES)
    forget(root, "cold")
    budget = max(LEAST_BUDGET_BYTES, table_bytes(root, "cold") // 16) + table_bytes(root, "warm")
    with node_process(root, "--memory-budget", str(budget)) as node:
        async with engram_client.connect(node.url) as store:
            warm = await store.table("warm")
            await fetch_warm(warm, expected, seconds)
            for _ in range(rounds):
                alone += await fetch_warm(warm, expected, seconds)
                with cold_client(node.url) as client:
                    beside += await fetch_warm(warm, expected, seconds)
                    num_cold += int((await asyncio.to_thread(client.communicate, "\n"))[0])
    return alone, beside, num_cold


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
def cold_client(url: str) -> Iterator[subprocess.Popen[str]]:
    """Run a client of its own that fetches cold rows until it is sent a line; it prints how many."""
    command = [sys.executable, __file__, "--fetch-cold-from", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        try:
            assert client.stdout.readline() == "fetching\n"
            yield client
        finally:
            client.kill()


async def fetch_cold_until_told(url: str) -> None:
    chosen, num_rows = np.random.default_rng(), 0
    told = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    async with engram_client.connect(url) as store:
        table = await store.table("cold")
        print("fetching", flush=True)
        while not told.done():
            ids = chosen.integers(0, table.num_rows, IDS_PER_FETCH)
            rows = await table.fetch(ids)
            if not np.array_equal(rows[:, :8].view(np.uint64)[:, 0], ids.astype(np.uint64)):
                raise SystemExit("wrong rows")
            num_rows += len(ids)
    print(num_rows)


def report_times(ahead: list[float], faulted: list[float]) -> None:
    ratios = [one / other for one, other in zip(ahead, faulted, strict=True)]
    print(f"{IDS_PER_FETCH} cold rows of {ROW_BYTES} bytes, every row checked")
    print(f"faulted one by one  {statistics.median(faulted) * 1e3:8.1f} ms")
    print(f"read ahead          {statistics.median(ahead) * 1e3:8.1f} ms")
    print(f"time ratio          {statistics.median(ratios):8.3f}  (worst {max(ratios):.3f}, best {min(ratios):.3f})")


def report_latencies(alone: list[float], beside: list[float], num_cold: int) -> None:
    found = {"alone": np.percentile(alone, (50, 90, 99)), "beside cold fetches": np.percentile(beside, (50, 90, 99))}
    print(f"{WARM_IDS} warm rows at a time, while another client fetched {num_cold:,} cold rows")
    for name, (p50, p90, p99) in found.items():
        print(f"{name:<19} p50 {p50 * 1e3:6.2f} ms, p90 {p90 * 1e3:6.2f} ms, p99 {p99 * 1e3:6.2f} ms")
    print(f"p99 ratio           {found['beside cold fetches'][2] / found['alone'][2]:8.2f}")


if __name__ == "__main__":
    main()
