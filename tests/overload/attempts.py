"""`python -m overload.attempts JOB`: one client process that asks a node for rows and tells what became of each try.

A job is JSON; its answer, a line of JSON, has a list of tries: when each began, how long it took, and how it ended.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from engram_client import EngramError, Overloaded, connect
from engram_client.grpc_transport import GrpcTransport
from engram_client.keyring import Keyring
from engram_client.security import Security
from engram_client.table_info import TableInfo

TABLE = "t"
ROW_BYTES = 64
End = Literal["right", "refused", "failed", "wrong"]


@dataclass(frozen=True)
class Job:
    """What one client does for so long: `rate` tries a second whatever becomes of them, or `at_once` all the time."""

    address: str
    seconds: float
    rate: float = 0.0
    at_once: int = 0
    streams: int = 1
    rows: int = 4
    num_rows: int = 4096
    token: str = ""
    backs_off: bool = False
    """Whether a refused try is made again by the client, as users have it; else each try is told as it ended."""
    seed: int = 0


@dataclass
class Tries:
    """What became of them: three lists of equal length."""

    began: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    ended: list[End] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(self, began: float, ended: End) -> None:
        self.began.append(began)
        self.took.append(time.time() - began)
        self.ended.append(ended)


def rows_of(num_rows: int) -> np.ndarray:
    """The rows of the table: each tells its number."""
    rows = np.zeros((num_rows, ROW_BYTES // 8), "<i8")
    rows[:] = np.arange(num_rows)[:, None] * 8 + np.arange(ROW_BYTES // 8)
    return rows.view(np.uint8)


class Client:
    """Makes tries over as many connections as the job has streams, in turn."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.tries = Tries()
        self._rows = rows_of(job.num_rows)
        self._ids = np.random.default_rng(job.seed)
        self._fetches: list[Callable[[np.ndarray], Awaitable[np.ndarray]]] = []
        self._closes: list[Callable[[], Awaitable[None]]] = []

    async def run(self) -> Tries:
        for _ in range(self.job.streams):
            await (self._connect() if self.job.backs_off else self._connect_plainly())
        try:
            await (self._at_a_rate() if self.job.rate else self._at_once())
        finally:
            await asyncio.gather(*(close() for close in self._closes))
        return self.tries

    async def _connect(self) -> None:
        store = connect(f"grpc://{self.job.address}", timeout=2.0, token=self.job.token or None)
        table = await store.table(TABLE)
        self._fetches.append(table.fetch)
        self._closes.append(store.close)

    async def _connect_plainly(self) -> None:
        """One connection of which each try is told as it ends."""
        keyring = Keyring(Security(token=self.job.token or None))
        transport = GrpcTransport(self.job.address, retries=False, keyring=keyring)
        table: TableInfo = await transport.get_table(TABLE, "", 10.0)

        async def fetch(ids: np.ndarray) -> np.ndarray:
            out = np.empty((len(ids), ROW_BYTES), np.uint8)
            await transport.fetch(table, ids, out, 10.0)
            return out

        self._fetches.append(fetch)
        self._closes.append(transport.close)

    async def _at_a_rate(self) -> None:
        """Begin tries by the clock: who is late begins several at a time."""
        began, number, tries = time.monotonic(), 0, set[asyncio.Task[None]]()
        while (gone := time.monotonic() - began) < self.job.seconds:
            while number < gone * self.job.rate:
                task = asyncio.create_task(self._try(number))
                tries.add(task)
                task.add_done_callback(tries.discard)
                number += 1
            await asyncio.sleep(0.002)
        if tries:
            await asyncio.wait(tries)

    async def _at_once(self) -> None:
        ends = time.monotonic() + self.job.seconds

        async def again_and_again(number: int) -> None:
            while time.monotonic() < ends:
                if await self._try(number) == "refused":
                    await asyncio.sleep(0.005)

        await asyncio.gather(*map(again_and_again, range(self.job.at_once)))

    async def _try(self, number: int) -> End:
        ids = self._ids.integers(0, self.job.num_rows, self.job.rows)
        began = time.time()
        try:
            rows = await self._fetches[number % len(self._fetches)](ids)
            ended: End = "right" if np.array_equal(rows, self._rows[ids]) else "wrong"
        except Overloaded:
            ended = "refused"
        except EngramError as error:
            ended = "failed"
            self.tries.failures.append(f"{type(error).__name__}: {error}"[:200])
        self.tries.add(began, ended)
        return ended


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(asyncio.run(Client(Job(**json.loads(sys.argv[1]))).run()))))
