"""Rows from a node of one process or of several: each fetch goes to the worker that has the least to do."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from engram_client.arrays import Int64Array, Uint8Array
from engram_client.at_once import all_of, begin
from engram_client.errors import EngramError, Overloaded, StoreClosed, TimeLimitExceeded, Unavailable
from engram_client.grpc_transport import GrpcTransport
from engram_client.keyring import Keyring
from engram_client.pieces import PIECE_BYTES
from engram_client.retry import check_timeout
from engram_client.retry_counts import RetryCounts
from engram_client.table_info import TableInfo
from engram_client.url import worker_address
from engram_store.v1.cluster_service_pb2 import GetShardMapResponse

_ASK_SECONDS: Final = 5.0  # for a worker to answer before it counts as gone
_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 10.0  # some may never answer: their ports may not be open to this client


class _Part(NamedTuple):
    """What one worker is asked for: see GrpcTransport.fetch."""

    rows: Int64Array
    out: Uint8Array
    places: Int64Array | None

    @property
    def num_bytes(self) -> int:
        row_bytes: int = self.out.shape[1]
        return len(self.rows) * row_bytes

    def divided(self, num_parts: int) -> list[_Part]:
        ends = [len(self.rows) * number // num_parts for number in range(num_parts + 1)]
        slices = [slice(*pair) for pair in pairwise(ends)]
        if self.places is None:
            return [_Part(self.rows[part], self.out[part], None) for part in slices]
        return [_Part(self.rows[part], self.out, self.places[part]) for part in slices]


@dataclass(slots=True, eq=False)
class _Worker:
    """One process of the node. It gets fetches while it `answers`; where that `is_doubted`, it is asked for a sign.

    One that is about to stop is doubted, too.
    """

    transport: GrpcTransport
    answers: bool = False
    is_doubted: bool = True
    bytes_under_way: int = 0
    asking: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def carrying(self, num_bytes: int) -> Iterator[None]:
        self.bytes_under_way += num_bytes
        try:
            yield
        finally:
            self.bytes_under_way -= num_bytes


class NodeTransport:
    """Speaks to one node, by the address of the URL and, once it has named them, to each of its workers.

    Descriptions, and with them the word on what is current, come by the address of the URL. So do all rows as long as
    no worker has answered, those that none could give, and any error: an address of a worker may lead elsewhere.
    """

    def __init__(
        self,
        address: str,
        *,
        retries: bool = True,
        keyring: Keyring | None = None,
        counts: RetryCounts | None = None,
    ) -> None:
        self._address = address
        self._keyring = keyring or Keyring()
        self._direct = GrpcTransport(address, retries=retries, keyring=self._keyring, counts=counts)
        self._named: tuple[str, tuple[str, ...]] = ("", ())  # the node, and where its workers listen
        self._workers: list[_Worker] = []
        self._asking: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()  # connections to former workers
        self._looked = 0.0  # when the node was last asked for its workers, by time.monotonic()
        self._closed = False

    @property
    def map_epoch(self) -> int:
        """Epoch of the shard map that the node spoke of last; 0 if it is in no cluster."""
        return self._direct.map_epoch

    @property
    def draining(self) -> bool:
        """Whether the node said last that it is about to stop; of several workers, whether all that answer did."""
        said = [worker.transport.draining for worker in self._workers if worker.answers]
        return all(said) if said else self._direct.draining

    async def list_tables(self, timeout: float) -> list[TableInfo]:
        """Describe the current version of every table, ordered by name."""
        self._looked = time.monotonic()
        tables = await self._direct.list_tables(timeout)
        self._learn()
        return tables

    async def get_table(self, name: str, version: str, timeout: float) -> TableInfo:
        """Describe one version of a table; "" is the current one."""
        table = await self._direct.get_table(name, version, timeout)
        self._learn()
        return table

    async def get_shard_map(self, known_epoch: int, timeout: float) -> GetShardMapResponse:
        """Return what the node knows of its cluster, the map only if it is newer than `known_epoch`."""
        return await self._direct.get_shard_map(known_epoch, timeout)

    async def fetch(
        self,
        table: TableInfo,
        rows: Int64Array,
        out: Uint8Array,
        timeout: float,
        *,
        places: Int64Array | None = None,
    ) -> None:
        """Put `rows` (n,) into `out` (n, row_bytes): large fetches in one part a worker, the parts at once.

        `places` as for GrpcTransport.fetch.
        """
        whole = _Part(rows, out, places)
        num_workers = sum(worker.answers for worker in self._workers) if self._workers else 0
        num_parts = min(num_workers, max(1, whole.num_bytes // PIECE_BYTES))
        if num_parts == 0:
            await self._direct.fetch(table, rows, out, timeout, places=places)
        elif num_parts == 1:
            await self._fetch_part(table, whole, timeout)
        else:
            await all_of(self._fetch_part(table, part, timeout) for part in whole.divided(num_parts))

    async def close(self) -> None:
        """Close all connections; what is under way fails with StoreClosed. Raises WrongLoop as GrpcTransport does."""
        await self._direct.close()
        self._closed = True
        workers, self._workers = self._workers, []  # nobody asks any more for one that is not among them
        tasks = [task for task in (*self._asking, *self._closing) if not task.get_loop().is_closed()]
        for task in self._asking.intersection(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for worker in workers:
            await worker.transport.close()

    async def _fetch_part(self, table: TableInfo, part: _Part, timeout: float) -> None:
        """Ask one worker, and when it is gone or silent another; at last the address of the URL, until the time limit.

        Each gets half of the time that is left to say something, so that some remains for the others.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + check_timeout(timeout)
        left, tried = timeout, set[_Worker]()
        while (worker := self._least_busy(tried)) is not None and left > 0:
            tried.add(worker)
            try:
                with worker.carrying(part.num_bytes):
                    await worker.transport.fetch(
                        table, part.rows, part.out, left, places=part.places, patience=left / 2
                    )
            except EngramError as error:
                self._judge(worker, error, tried)
                if isinstance(error, TimeLimitExceeded) and now() >= deadline:
                    raise
            else:
                if worker.transport.draining:
                    self._doubt(worker, answers=True)
                return
            left = deadline - now()
        if left <= 0:
            raise Unavailable(f"table {table.name!r} of {self._address}: no worker answered within {timeout:g} s")
        await self._direct.fetch(table, part.rows, part.out, left, places=part.places)

    def _judge(self, worker: _Worker, error: EngramError, tried: set[_Worker]) -> None:
        """Take note of how a worker failed: `tried` are those that need not be asked. Raises the error at the end."""
        match error:
            case TimeLimitExceeded():
                self._doubt(worker, answers=worker.answers)  # perhaps it is only slow
            case Overloaded():
                pass  # it answers, and others may have less to do
            case Unavailable() | StoreClosed():
                if self._closed:
                    raise error
                self._doubt(worker, answers=False)
            case _:
                tried.update(self._workers)  # what is an error is said at the address of the URL

    def _least_busy(self, tried: set[_Worker]) -> _Worker | None:
        """Return the worker with the least to do; one in doubt only where there is no other: it may hang."""
        workers = [worker for worker in self._workers if worker.answers and worker not in tried]
        return min(workers, key=lambda worker: (worker.is_doubted, worker.bytes_under_way), default=None)

    def _learn(self) -> None:
        """Take note of the workers that the node has just named."""
        named = (self._direct.workers.node, tuple(self._direct.workers.listen))
        if named == self._named or self._closed:
            return
        self._named = named
        for worker in self._workers:
            begin(worker.transport.close(), self._closing)
        addresses = [worker_address(self._address, listen) for listen in named[1]] if len(named[1]) > 1 else []
        self._workers = [
            _Worker(GrpcTransport(address, retries=False, keyring=self._keyring))
            for address in addresses
            if address is not None
        ]
        random.shuffle(self._workers)  # of those with nothing to do the first is asked: not the same by every client
        for worker in self._workers:
            self._ask(worker)

    def _doubt(self, worker: _Worker, *, answers: bool) -> None:
        worker.answers, worker.is_doubted = answers, True
        self._ask(worker)

    def _ask(self, worker: _Worker) -> None:
        if worker.asking is None or worker.asking.done():
            worker.asking = begin(self._ask_until_it_answers(worker), self._asking)

    async def _ask_until_it_answers(self, worker: _Worker) -> None:
        """Each worker has such a task of its own: one that never answers keeps nobody from asking the others."""
        pause = _FIRST_PAUSE_SECONDS
        while worker in self._workers:
            await self._ask_one(worker)
            if not worker.is_doubted:
                return
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads load; nothing secret
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            # The node may be another by now, with other workers. One look serves all who wait.
            if time.monotonic() - self._looked >= pause / 2:
                with contextlib.suppress(EngramError):
                    await self.list_tables(_ASK_SECONDS)

    async def _ask_one(self, worker: _Worker) -> None:
        try:
            await worker.transport.list_tables(_ASK_SECONDS)
            worker.answers = worker.transport.workers.node == self._named[0]
        except EngramError:
            worker.answers = False
        worker.is_doubted = not worker.answers or worker.transport.draining
