"""Users of a client: they fetch, refresh, lose patience, change their minds, and read tables that belong together."""

import asyncio
import random

import numpy as np
from numpy.typing import NDArray
from simulation.watch import AMPLE_SECONDS, TOLERANCE_SECONDS, ClientWatch

from engram_client.errors import VersionNotFound
from engram_client.table_info import TableInfo

_MOST_ROWS = 200


class Reader:
    """One user of a client."""

    def __init__(self, watch: ClientWatch, tables: list[str], dice: random.Random) -> None:
        self._watch = watch
        self._client = watch.transport
        self._tables = tables
        self._dice = dice
        self._seen: dict[str, int] = {}  # table to the number of the newest version of it
        self._now = asyncio.get_running_loop().time

    async def read(self, num_fetches: int, seconds: float) -> None:
        """Fetch so often in about that time; steadily, or at times many at once."""
        table = await self._open()
        for _ in range(num_fetches):
            await asyncio.sleep(self._dice.choice((0.0, 0.001, 2 * seconds / num_fetches * self._dice.random())))
            if self._dice.random() < 0.2:
                table = await self._open()
            if self._dice.random() < 0.2:
                await self._read_what_belongs_together()
            elif not await self.fetch(table, self._some_rows(table), self._some_timeout()):
                table = await self._open()

    async def fetch(self, table: TableInfo, rows: NDArray[np.int64], timeout: float) -> bool:
        """Fetch and have it judged; perhaps cancel it. Returns whether the version is still there."""
        fetch = self._watch.begin(table, rows, timeout)
        work = asyncio.create_task(self._client.fetch(table, rows, fetch.out, timeout))
        if self._dice.random() < 0.1:
            await asyncio.wait((work,), timeout=self._dice.choice((0.0005, 0.005, 0.5)) * self._dice.random())
            for _ in range(self._dice.choice((1, 1, 2))):
                if not work.done():
                    fetch.cancelled = self._now() if fetch.cancelled is None else fetch.cancelled
                    work.cancel()
                    await asyncio.sleep(0)
        await asyncio.wait((work,))
        error = asyncio.CancelledError() if work.cancelled() else work.exception()
        self._watch.end(fetch, error)
        return not isinstance(error, VersionNotFound)

    async def _open(self) -> TableInfo:
        name = self._dice.choice(self._tables)
        began = self._now()
        found = await self._client.get_table(name, "", AMPLE_SECONDS)
        if self._now() > began + AMPLE_SECONDS + TOLERANCE_SECONDS:
            self._watch.world.violate(f"describing {name} took {self._now() - began:g} s")
        self._take_note(found)
        return found

    async def _read_what_belongs_together(self) -> None:
        tables = await self._client.list_tables(AMPLE_SECONDS)
        versions = {table.name: table.version for table in tables}
        for table in tables:
            self._take_note(table)
        for belong in self._sets_of(versions):
            if belong not in self._watch.world.agreed.belong_together:
                self._watch.world.violate(f"{belong} were never current together")
        async with asyncio.TaskGroup() as group:
            for table in tables:
                group.create_task(self.fetch(table, self._some_rows(table), self._some_timeout()))

    def _sets_of(self, versions: dict[str, str]) -> list[dict[str, str]]:
        sets = self._watch.world.agreed.current.values()
        return [{table: versions[table] for table in each} for each in sets]

    def _take_note(self, table: TableInfo) -> None:
        """See that what is current never goes back."""
        number = int(table.version.removeprefix("v"))
        if number < self._seen.get(table.name, 0):
            self._watch.world.violate(
                f"{self._watch.name}: v{self._seen[table.name]} of {table.name} was current, now {number}"
            )
        self._seen[table.name] = number

    def _some_rows(self, table: TableInfo) -> NDArray[np.int64]:
        number = self._dice.choice((1, self._dice.randint(1, 20), self._dice.randint(1, _MOST_ROWS)))
        return rows_at_random(table, number, self._dice)

    def _some_timeout(self) -> float:
        return self._dice.choice((AMPLE_SECONDS,) * 3 + (self._dice.uniform(0.001, 1.0),))


def rows_at_random(table: TableInfo, number: int, dice: random.Random) -> NDArray[np.int64]:
    """Return rows (number,) of a table."""
    return np.frombuffer(dice.randbytes(4 * number), "<u4").astype(np.int64) % table.num_rows
