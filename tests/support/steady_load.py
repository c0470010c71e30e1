"""A client that goes on fetching while something happens to the nodes."""

import asyncio
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engram_client.errors import EngramError
from engram_client.store import Table

FETCHERS, PAUSE_SECONDS, PATIENCE_SECONDS = 4, 0.01, 60


class SteadyLoad:
    """Fetches as long as the block lasts, a few fetches at a time; each is compared with what it must be."""

    def __init__(self, table: Table, rows: NDArray[np.uint8], rows_a_fetch: int = 2000) -> None:
        self.num_right = 0
        self.wrong: list[object] = []
        """The errors of fetches that failed, the numbers of rows that were wrong."""
        self._table, self._rows, self._rows_a_fetch = table, rows, rows_a_fetch
        self._is_over = False

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._keep_fetching(seed)) for seed in range(FETCHERS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True
        await asyncio.gather(*self._tasks)

    async def go_on(self, fetches: int) -> None:
        """Wait until so many more have succeeded, or one has not."""
        until = self.num_right + fetches
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.num_right < until and not self.wrong:
                await asyncio.sleep(PAUSE_SECONDS)

    async def _keep_fetching(self, seed: int) -> None:
        dice = np.random.default_rng(seed)
        while not self._is_over:
            await asyncio.sleep(PAUSE_SECONDS)
            ids = dice.integers(0, len(self._rows), self._rows_a_fetch if seed else 1)
            try:
                rows = await self._table.fetch(ids)
            except EngramError as error:
                self.wrong.append(error)
            else:
                self.num_right += 1
                if not np.array_equal(rows, self._rows[ids]):
                    self.wrong.append(ids)
