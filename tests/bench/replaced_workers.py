"""Seconds from the death of a worker under load until another answers in its place, and what its clients notice.

    python tests/bench/replaced_workers.py [--nodes N]

Each node has two workers, of which first one and then the other is killed while a client fetches from both. Beside the
time is the CPU that the new worker has taken by then: what is between is spent waiting for a core, by others' doing.
The exit status is 1 if a worker took longer than two seconds, or if a fetch failed or brought a wrong row.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import grpc

import engram_client
from engram_store.v1.lookup_service_pb2 import LookupRequest
from engram_store.v1.lookup_service_pb2_grpc import LookupServiceStub

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.processes import NodeProcess, node_process
from support.rows import random_rows
from support.steady_load import SteadyLoad
from support.tables import write_table

TABLE, ROWS = "t", random_rows(100_000, 264)
MOST_SECONDS, PATIENCE_SECONDS = 2.0, 60.0
FETCHES_BETWEEN, ROWS_A_FETCH, PAUSE_SECONDS = 50, 500, 0.005


class Replaced(NamedTuple):
    """What came of one kill: seconds until the next worker answered, the CPU it took, and fetches that went wrong."""

    seconds: float
    cpu_seconds: float
    wrong: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=10, help="of two kills each (default: %(default)s)")
    nodes = parser.parse_args().nodes
    found: list[Replaced] = []
    with tempfile.TemporaryDirectory(prefix="engram-store-bench-") as directory:
        root = Path(directory, "root")
        write_table(root, TABLE, ROWS)
        for _ in range(nodes):
            with node_process(root, "--workers", "2", "--in-memory", TABLE, is_fresh=True) as node:
                found += asyncio.run(_both_killed(node))
    for number, each in enumerate(found, 1):
        print(f"kill {number:>3}: {each.seconds:.2f} s, {each.cpu_seconds:.2f} s of CPU, {each.wrong} fetches failed")
    seconds = [each.seconds for each in found]
    print(f"replaced after  median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s")
    print(f"load average    {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 0 if max(seconds) <= MOST_SECONDS and not any(each.wrong for each in found) else 1


async def _both_killed(node: NodeProcess) -> list[Replaced]:
    """Kill one worker, and when another has its place, the other one."""
    found = []
    async with engram_client.connect(node.url, timeout=PATIENCE_SECONDS) as store:
        table = await store.table(TABLE)
        for number, address, pid in _workers_in(node.log):
            async with SteadyLoad(table, ROWS, ROWS_A_FETCH) as load:
                await load.go_on(FETCHES_BETWEEN)
                os.kill(pid, signal.SIGKILL)
                began = time.monotonic()
                await _until_it_answers(address)
                seconds = time.monotonic() - began
                cpu_seconds = _cpu_seconds(await asyncio.to_thread(_next_in_place, node, number))
                await load.go_on(FETCHES_BETWEEN)
            found.append(Replaced(seconds, cpu_seconds, len(load.wrong)))
    return found


async def _until_it_answers(address: str) -> None:
    """Ask one worker, and no other, on a connection of its own each time."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                async with grpc.aio.insecure_channel(address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
                    await LookupServiceStub(channel).Lookup(LookupRequest(table=TABLE, rows=[7]), timeout=1.0)
                    return
            except grpc.aio.AioRpcError:
                await asyncio.sleep(PAUSE_SECONDS)


def _workers_in(log: str) -> list[tuple[int, str, int]]:
    """Return number, address and process of each worker, in the order in which they came to be ready."""
    found = re.findall(r"event='worker ready' worker=(\d+) address='([^']+)' pid=(\d+)", log)
    return [(int(number), address, int(pid)) for number, address, pid in found]


def _next_in_place(node: NodeProcess, number: int) -> int:
    """Return the process that has the place of a worker that was killed."""
    told = rf"event='worker replaced' worker={number} .*pid=(\d+)"
    if not node.logged(f"event='worker replaced' worker={number} "):
        raise SystemExit(f"worker {number} was not replaced")
    return int(re.search(told, node.log)[1])


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    raise SystemExit(main())
