"""A client that fetches at a steady rate, whether or not earlier fetches have ended, and checks every row.

    python load_client.py SETTINGS

with the fields of LoadSettings as JSON. Each line that it reads is a number: once so many more fetches have been due,
and all until then have ended, it answers with the fetches that have ended since it last did and how often each node was
asked meanwhile, as JSON. When there are no more lines it finishes what is under way, answers once more, and prints how
often nodes were asked in all.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from chaos.counted_link import Count, CountedLink
from chaos.fetches import RIGHT, WRONG, Fetch
from support.rows import random_rows

from engram_client.cluster.cluster_transport import ClusterTransport
from engram_client.cluster.hedging import HedgeSettings
from engram_client.errors import EngramError
from engram_client.keyring import Keyring
from engram_client.node_transport import NodeTransport
from engram_client.security import Security
from engram_client.store import Store
from engram_client.table import Table
from engram_store.shard_map import from_message

_START_SECONDS = 20.0
ROW_BYTES = 264


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    """The table holds `random_rows` of a seed."""

    seed_address: str
    table: str
    table_rows: int
    table_seed: int
    rows_a_fetch: int = 1000
    fetches_a_second: float = 40.0
    burst: int = 1
    """So many are due at once, and then none for as much longer."""
    most_under_way: int = 1 << 20
    """So many are made at once: what is due beyond them waits, where cores are too busy for the rate."""
    time_limit_seconds: float = 30.0
    hedge_budget: float = HedgeSettings().budget
    """0 hedges never."""


class _Load:
    def __init__(self, table: Table, settings: LoadSettings, count: Count) -> None:
        self._table = table
        self._rows = random_rows(settings.table_rows, ROW_BYTES, settings.table_seed)
        self._settings = settings
        self._ids = np.random.default_rng(1)
        self._num_begun = 0
        self._under_way: set[int] = set()
        self._room = asyncio.Semaphore(settings.most_under_way)
        self._untold: list[Fetch] = []
        self._count, self._told_of = count, Counter[str]()
        self._waited_for: int | None = None  # the number of a fetch before which all must have ended
        self._is_over = asyncio.Event()

    def obey(self, line: str) -> None:
        if line:
            self._waited_for = self._num_begun + int(line)
        else:
            self._is_over.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        began, burst = time.monotonic(), self._settings.burst
        async with asyncio.TaskGroup() as fetches:
            while not self._is_over.is_set():
                due = began + self._num_begun // burst * burst / self._settings.fetches_a_second
                await asyncio.sleep(due - loop.time())
                await self._room.acquire()
                fetches.create_task(self._fetch(self._num_begun, due))
                self._under_way.add(self._num_begun)
                self._num_begun += 1
        self._tell()

    async def _fetch(self, number: int, due: float) -> None:
        ids = self._ids.integers(0, len(self._rows), self._settings.rows_a_fetch)
        rows = np.empty((len(ids), ROW_BYTES), np.uint8)
        try:
            with self._count.fetch_into(rows):
                await self._table.fetch(ids, out=rows)
            seconds = time.monotonic() - due
            outcome = RIGHT if np.array_equal(rows, self._rows[ids]) else WRONG
        except EngramError as error:
            seconds, outcome = time.monotonic() - due, f"{type(error).__name__}: {error}"
        self._untold.append(Fetch(due, seconds, outcome))
        self._under_way.discard(number)
        self._room.release()
        if self._waited_for is not None and min(self._under_way, default=self._num_begun) >= self._waited_for:
            self._waited_for = None
            self._tell()

    def _tell(self) -> None:
        print(json.dumps([self._untold, self._count.fetches - self._told_of]), flush=True)
        self._untold, self._told_of = [], Counter(self._count.fetches)


async def _main(settings: LoadSettings) -> None:
    count = Count()
    transport = await _cluster(settings, count)
    async with Store(transport, settings.time_limit_seconds) as store:
        load = _Load(await store.table(settings.table), settings, count)
        loop = asyncio.get_running_loop()
        threading.Thread(target=_read_lines, args=(loop, load), daemon=True).start()
        await load.run()
    print(json.dumps(asdict(count.asked)), flush=True)


async def _cluster(settings: LoadSettings, count: Count) -> ClusterTransport:
    """Return what `connect` makes of a cluster, with links that count."""
    keyring = Keyring(Security(insecure=True))  # networks of this host, whose addresses are not its own
    seed = NodeTransport(settings.seed_address, keyring=keyring)
    try:
        response = await seed.get_shard_map(0, _START_SECONDS)
    finally:
        await seed.close()
    return ClusterTransport(
        from_message(response.map),
        lambda address: CountedLink(NodeTransport(address, retries=False, keyring=keyring), address, count),
        settings=HedgeSettings(budget=settings.hedge_budget),
    )


def _read_lines(loop: asyncio.AbstractEventLoop, load: _Load) -> None:
    for line in sys.stdin:
        loop.call_soon_threadsafe(load.obey, line)
    loop.call_soon_threadsafe(load.obey, "")


def main(arguments: Sequence[str]) -> None:
    asyncio.run(_main(LoadSettings(**json.loads(arguments[0]))))


if __name__ == "__main__":
    main(sys.argv[1:])
