"""What a client and its node hold after a million fetches into fresh arrays: does it grow?

    PYTHONPATH=tests python -m bench.store_bench.client_memory [--fetches N]

Prints the memory of both that is no mapped file after each tenth; every row is checked.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

import numpy as np
from bench.store_bench.client_process import private_bytes
from bench.store_bench.questions import Questions, RowFile
from support.processes import node_process
from support.tables import write_table

import engram_client

_ROWS, _IDS_PER_FETCH, _IN_FLIGHT = 100_000, 16, 32
_STEPS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fetches", type=int, default=1_000_000, help="fetches in all (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="engram-store-bench-") as directory:
        file = RowFile.write(Path(directory), _ROWS)
        write_table(Path(directory, "root"), "table", file.rows())
        with node_process(Path(directory, "root"), is_fresh=True) as node:
            asyncio.run(
                fetch_and_print(node.url, node.process.pid, Questions.of(file, _IDS_PER_FETCH), options.fetches)
            )


async def fetch_and_print(url: str, node_pid: int, questions: Questions, fetches: int) -> None:
    print(f"{'fetches':>10} {'client MiB':>11} {'node MiB':>9}")
    async with engram_client.connect(url) as store:
        table = await store.table("table")
        for step in range(1, _STEPS + 1):
            lanes = (lane(table, questions, number, fetches // _STEPS) for number in range(_IN_FLIGHT))
            await asyncio.gather(*lanes)
            client, node = (private_bytes([pid]) / (1 << 20) for pid in (os.getpid(), node_pid))
            print(f"{step * fetches // _STEPS:>10,} {client:>11.1f} {node:>9.1f}", flush=True)


async def lane(table: engram_client.Table, questions: Questions, first: int, fetches: int) -> None:
    for number in range(first, fetches, _IN_FLIGHT):
        question = number % len(questions.ids)
        rows = await table.fetch(questions.ids[question])
        if not np.array_equal(rows, questions.rows[question]):
            raise SystemExit("wrong rows")


if __name__ == "__main__":
    main()
