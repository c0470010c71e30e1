"""`python -m soak.client HABIT ADDRESS`: a client that fetches until its input ends, and tells each second how it goes.

Every row is checked: it has the stamp of its version and the content of that version, and all that one handle of a
table returns is of one version.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np
from soak.stamped import NUM_ROWS, stamp_of, stamped_rows
from soak.swaps import TABLES

import engram_client

_TIME_LIMIT_SECONDS: Final = 30.0
_FETCHES_A_HANDLE: Final = 20
_MOST_TOLD: Final = 5
_ROWS: Final = (16, 500)  # in turn: answered on the spot, and not


@dataclass
class Told:
    """What a client has seen so far."""

    fetches: int = 0
    connections: int = 0
    failed: int = 0
    wrong: int = 0
    failures: list[str] = field(default_factory=list)
    newest: int = 0
    versions_seen: int = 0

    def check(self, rows: np.ndarray, ids: np.ndarray, before: int) -> int:
        """Take note of a fetch by a handle that has returned rows of version `before`, 0 for none; return its own."""
        self.fetches += 1
        number = stamp_of(rows)
        if before not in (0, number) or not np.array_equal(rows, stamped_rows(number, ids)):
            self.wrong += 1
        if number > self.newest:
            self.newest = number
            self.versions_seen += 1
        return number

    def fail(self, error: Exception) -> None:
        """Take note of a fetch that failed."""
        self.failed += 1
        self.failures = [*self.failures, f"{type(error).__name__}: {error}"][:_MOST_TOLD]


class Client:
    """Fetches in one of the habits of HABITS, which yield when they can be ended, and begin again when they end."""

    def __init__(self, address: str) -> None:
        self.told = Told()
        self._url = f"grpc://{address}"
        self._ids = np.random.default_rng(0)
        self._turns = itertools.cycle(itertools.product(TABLES, _ROWS))

    async def steady(self) -> AsyncGenerator[None]:
        """Keep one connection, and go to the newest version now and then."""
        self.told.connections += 1
        async with engram_client.connect(self._url, timeout=_TIME_LIMIT_SECONDS) as store:
            tables = {name: await store.table(name) for name in TABLES}
            for name, rows in itertools.product(TABLES * _FETCHES_A_HANDLE, _ROWS):
                await tables[name].refresh()
                number = 0
                for _ in range(3):
                    ids = self._some_ids(rows)
                    number = self.told.check(await tables[name].fetch(ids), ids, number)
                yield

    async def reconnecting(self) -> AsyncGenerator[None]:
        """Connect, fetch once and leave."""
        self.told.connections += 1
        name, rows = next(self._turns)
        ids = self._some_ids(rows)
        async with engram_client.connect(self._url, timeout=_TIME_LIMIT_SECONDS) as store:
            self.told.check(await (await store.table(name)).fetch(ids), ids, 0)
        yield

    async def blocking(self) -> AsyncGenerator[None]:
        """Do the same without an event loop of one's own."""
        await asyncio.to_thread(self._connect_and_fetch)
        yield

    def _connect_and_fetch(self) -> None:
        self.told.connections += 1
        name, rows = next(self._turns)
        ids = self._some_ids(rows)
        with engram_client.connect_blocking(self._url, timeout=_TIME_LIMIT_SECONDS) as store:
            self.told.check(store.table(name).fetch(ids), ids, 0)

    def _some_ids(self, count: int) -> np.ndarray:
        return self._ids.integers(0, NUM_ROWS, count)


HABITS: Final[dict[str, Callable[[Client], AsyncGenerator[None]]]] = {
    "steady": Client.steady,
    "reconnecting": Client.reconnecting,
    "blocking": Client.blocking,
}


async def _main(habit: str, address: str) -> None:
    client, ended = Client(address), asyncio.Event()
    loop = asyncio.get_running_loop()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set)), daemon=True).start()
    teller = _Teller(client.told)
    while not ended.is_set():
        try:
            async with contextlib.aclosing(HABITS[habit](client)) as doing:
                async for _ in doing:
                    teller.tell_now_and_then()
                    if ended.is_set():
                        break
        except Exception as error:  # whatever a user of the client would see
            client.told.fail(error)
            teller.tell_now_and_then()
    teller.tell()


class _Teller:
    """Prints what a client has seen, each second."""

    def __init__(self, told: Told) -> None:
        self._told, self._told_at = told, 0.0

    def tell_now_and_then(self) -> None:
        if time.monotonic() - self._told_at >= 1.0:
            self.tell()

    def tell(self) -> None:
        print(json.dumps(asdict(self._told)), flush=True)
        self._told_at = time.monotonic()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
