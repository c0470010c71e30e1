"""A client's way to a simulated node. Replies come when they come, and write if somebody still waits for them."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simulation.nodes import SimulatedNode
from simulation.watch import ClientWatch, Fetch

from engram_client.errors import StoreClosed, TimeLimitExceeded, Unavailable
from engram_client.table_info import TableInfo
from engram_store.v1 import cluster_service_pb2 as pb

_CLOSING_SECONDS = 0.001


class PendingQuestion:
    """A question on its way or being answered; `ask` and `take` are done at the node and with its answer."""

    def __init__(
        self, link: "SimulatedLink", ask: Callable[[SimulatedNode], Any], take: Callable[[Any], None], num_bytes: int
    ) -> None:
        self.num_bytes = num_bytes
        self.reply: asyncio.Future[None] = link.node.loop.create_future()
        self.ask = ask
        self._take = take
        self._link = link

    def is_cut_off(self) -> bool:
        if self._link.is_cut:
            self._link.kept.append(self)
        return self._link.is_cut

    def answer(self, value: Any) -> None:
        if self.reply.done():
            self._link.watch.late_replies += 1
            if not self._link.writes_late_replies:
                return
        self._take(value)
        if not self.reply.done():
            self._link.hear(announces_stop=self._link.node.announces_stop)
            self.reply.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)


class SimulatedLink:
    """A NodeLink."""

    writes_late_replies = False
    """Only for a bug that is planted."""

    def __init__(self, node: SimulatedNode, watch: ClientWatch) -> None:
        self.node = node
        self.watch = watch
        self.is_cut = self.node.is_cut_off
        self.kept: list[PendingQuestion] = []
        self.is_closed = False
        self.is_released = False
        self.draining = False
        """Whether the node announced its stop when it last answered."""
        self.told_at = math.inf
        """Since when it has done so with each answer."""
        self.heard_at = -math.inf
        """When it last brought rows to a user's fetch."""
        self.first_failure: float | None = None
        """When a user's fetch first found out about the present fault of the node."""
        self._under_way: dict[PendingQuestion, None] = {}

    async def get_shard_map(self, known_epoch: int, timeout: float) -> pb.GetShardMapResponse:
        return await self._call(lambda node: node.shard_map(known_epoch), timeout)

    async def list_tables(self, timeout: float) -> list[TableInfo]:
        return await self._call(lambda _: [], timeout)

    async def fetch(
        self,
        table: TableInfo,
        rows: NDArray[np.int64],
        out: NDArray[np.uint8],
        timeout: float,
        *,
        places: NDArray[np.int64] | None = None,
    ) -> None:
        fetch = self.watch.fetch_into(out)  # None for a trial in the background
        where = slice(None) if places is None else places

        def take(value: NDArray[np.uint8]) -> None:
            out[where] = value

        question = PendingQuestion(self, lambda node: node.rows(table, rows), take, len(rows) * table.row_bytes)
        if fetch is None:
            await self._wait_for(question, timeout)
            return
        self.watch.asked(fetch, self, rows, where)
        outcome, began = "rows", self.node.loop.time()
        try:
            await self._wait_for(question, timeout)
            self.heard_at = self.node.loop.time()
        except Unavailable:
            outcome = Unavailable.__name__
            self.note_that_it_is_away(fetch)
            raise
        except BaseException as error:
            outcome = type(error).__name__
            if isinstance(error, asyncio.CancelledError) and self.heard_at <= began:
                self.watch.gave_up(fetch, self, where)
            raise
        finally:
            self.watch.heard(fetch, self, where, outcome)

    async def close(self) -> None:
        self.is_closed = True
        for question in list(self._under_way):
            question.fail(StoreClosed("the link was closed"))
        await asyncio.sleep(_CLOSING_SECONDS)
        self.is_released = True

    def mend(self) -> None:
        self.is_cut = False
        kept, self.kept = self.kept, []
        for question in kept:
            self.node.reached(question)

    def hear(self, *, announces_stop: bool) -> None:
        """Take note of what comes with an answer."""
        if announces_stop != self.draining:
            self.told_at = self.node.loop.time() if announces_stop else math.inf
        self.draining = announces_stop

    async def _call(self, ask: Callable[[SimulatedNode], Any], timeout: float) -> Any:
        answers: list[Any] = []
        await self._wait_for(PendingQuestion(self, ask, answers.append, 0), timeout)
        return answers[0]

    async def _wait_for(self, question: PendingQuestion, limit: float) -> None:
        if self.is_closed:
            raise StoreClosed("the link is closed")
        timer = self.node.loop.call_later(limit, question.fail, TimeLimitExceeded(f"no answer within {limit:g} s"))
        self._under_way[question] = None
        self.node.take(question)
        try:
            await question.reply
        finally:
            timer.cancel()
            del self._under_way[question]

    def note_that_it_is_away(self, fetch: Fetch) -> None:
        """Remember that the client was told, by a refusal or by silence, if the node is away."""
        now = self.node.loop.time()
        is_faulty = self.is_cut or not self.node.is_up or self.node.is_stopped or self.node.refuses
        if is_faulty and self.first_failure is None and now < fetch.deadline:
            self.first_failure = now
