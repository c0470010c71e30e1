"""`python -m upgrade.client URL PAUSE_SECONDS`: a client of whichever release Python finds, until its input ends.

It fetches in several habits at once, with pauses between two fetches of each; every row is checked. Each line that it
reads is a number: once it has done all its habits so many more times, it answers with all that it has seen, as JSON,
as it does at the end.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from functools import partial

import numpy as np
from support.rows import random_rows

import engram_client

TABLE, ROWS = "m/layer-1", random_rows(20_000, 264)
_TIME_LIMIT_SECONDS = 30.0
_LOOK_SECONDS = 0.01


@dataclass
class Told:
    """What a client has seen so far; how often each habit went well."""

    client: str = engram_client.__file__
    fetches: dict[str, int] = field(default_factory=dict)
    wrong: int = 0
    failures: list[str] = field(default_factory=list)


class Client:
    """Fetches in several habits at once."""

    def __init__(self, url: str, pause_seconds: float) -> None:
        self.told = Told()
        self._url = url
        self._pause_seconds = pause_seconds
        self._dice = np.random.default_rng(0)
        self._is_over = False

    async def run(self) -> None:
        """Do as this module says."""
        async with engram_client.connect(self._url, timeout=_TIME_LIMIT_SECONDS) as store:
            table = await store.table(TABLE)
            of_table = (self._fetch_few, self._fetch_many, self._fetch_at_once, self._give_up)
            habits = {habit.__name__: partial(habit, table) for habit in of_table}
            habits[self._connect.__name__] = self._connect
            self.told.fetches = dict.fromkeys(habits, 0)
            tasks = [asyncio.create_task(self._keep(*habit)) for habit in habits.items()]
            while line := await asyncio.to_thread(sys.stdin.readline):
                await self._go_on(int(line))
                self._tell()
            self._is_over = True
            await asyncio.gather(*tasks)
        self._tell()

    async def _keep(self, name: str, habit: Callable[[], Awaitable[None]]) -> None:
        while not self._is_over:
            await asyncio.sleep(self._pause_seconds)
            try:
                await habit()
            except Exception as error:  # whatever a user of the client would see
                self.told.failures.append(f"{type(error).__name__}: {error}")
            else:
                self.told.fetches[name] += 1

    async def _fetch_few(self, table) -> None:
        await self._fetch(table, 16)

    async def _fetch_many(self, table) -> None:
        await self._fetch(table, 2000)

    async def _fetch_at_once(self, table) -> None:
        """Fetch so that several lookups may share a message."""
        await asyncio.gather(*(self._fetch(table, 4) for _ in range(8)))

    async def _give_up(self, table) -> None:
        """Fetch what nobody waits for any more once it is on its way, and then something else."""
        given_up = [asyncio.create_task(self._fetch(table, 2000)) for _ in range(4)]
        await asyncio.wait(given_up, return_when=asyncio.FIRST_COMPLETED)
        for fetch in given_up:
            fetch.cancel()
        await self._fetch(table, 100)

    async def _connect(self) -> None:
        """Connect anew, look for the table in the list, and fetch once."""
        async with engram_client.connect(self._url, timeout=_TIME_LIMIT_SECONDS) as store:
            (listed,) = [table for table in await store.tables() if table.name == TABLE]
            await self._fetch(await store.table(TABLE, version=listed.version), 16)

    async def _fetch(self, table, count: int) -> None:
        ids = self._dice.integers(0, len(ROWS), count)
        if not np.array_equal(await table.fetch(ids), ROWS[ids]):
            self.told.wrong += 1

    async def _go_on(self, times: int) -> None:
        before = dict(self.told.fetches)
        while not self.told.failures and any(
            count < before[habit] + times for habit, count in self.told.fetches.items()
        ):
            await asyncio.sleep(_LOOK_SECONDS)

    def _tell(self) -> None:
        print(json.dumps(asdict(self.told)), flush=True)


if __name__ == "__main__":
    asyncio.run(Client(sys.argv[1], float(sys.argv[2])).run())
