"""Simulated nodes: what they hold, which map they know, how fast they are and what is wrong with them."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from simulation.agreed_map import AgreedMap
from simulation.content import rows_of

from engram_client.errors import RowsNotHeld, TableDamaged, Unavailable, VersionNotFound
from engram_client.table_info import TableInfo
from engram_store.shard_map import ShardMap, VersionKey, to_message
from engram_store.v1 import cluster_service_pb2 as pb

_REFUSAL_SECONDS = 0.0003
_MOST_DROP_SECONDS = 0.5


class Question(Protocol):
    """What somebody wants of a node, and waits for."""

    num_bytes: int
    """Of the answer."""

    def is_cut_off(self) -> bool:
        """Keep the question if nothing passes between the two, until something does; tell whether it was kept."""
        ...

    def ask(self, node: "SimulatedNode") -> Any:
        """Return the node's answer to it, or raise its refusal."""
        ...

    def answer(self, value: Any) -> None:
        """Take the answer there."""
        ...

    def fail(self, error: Exception) -> None:
        """Take the failure there."""
        ...


@dataclass(slots=True, eq=False)
class SimulatedNode:
    """One node. The rest of the simulation does to it what it likes."""

    number: int
    agreed: AgreedMap
    map: ShardMap | None
    dice: random.Random
    base_seconds: Callable[[], float]
    held: dict[VersionKey, set[int]] = field(default_factory=dict)
    """Shards of versions."""
    damaged: set[tuple[VersionKey, int]] = field(default_factory=set)
    is_up: bool = True
    is_stopped: bool = False
    announces_stop: bool = False
    """With each answer."""
    refuses: bool = False
    """To give rows, as its stop is near."""
    takes_no_rows: bool = False
    """As its disk is full."""
    is_cut_off: bool = False
    """From one client at least."""
    reaches_etcd: bool = True
    hands_out: ShardMap | None = None
    """Instead of the map that it knows."""
    extra_seconds: float = 0.0
    slow_share: float = 0.0
    """Of replies, that take 50 ms more."""
    when_dead: Callable[[], None] = lambda: None
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    _last_read: dict[VersionKey, float] = field(default_factory=dict)
    _under_way: dict[Question, None] = field(default_factory=dict)
    _unanswered: list[Question] = field(default_factory=list)
    """What came in while it was stopped."""
    _halted: list[asyncio.Future[None]] = field(default_factory=list)
    """What the node itself does, while it is stopped."""
    _to_drop: list[tuple[int, VersionKey, int | None]] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """Of the map that it knows, 0 for none."""
        return self.map.epoch if self.map is not None else 0

    @property
    def is_good(self) -> bool:
        """Whether every client gets answers, and will for a while."""
        return self.is_up and not (self.is_stopped or self.announces_stop or self.is_cut_off)

    def serves(self, key: VersionKey, shard: int) -> bool:
        return self.is_good and shard in self.held.get(key, ()) and (key, shard) not in self.damaged

    # What it does for those who ask

    def take(self, question: Question) -> None:
        """Answer when it is time, if it still runs then."""
        if not self.is_up:
            self.loop.call_later(_REFUSAL_SECONDS, question.fail, Unavailable(f"n{self.number} refuses connections"))
            return
        self._under_way[question] = None
        self.loop.call_later(self._seconds(question), self._answer, question)

    def rows(self, table: TableInfo, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        key = VersionKey(table.name, table.version)
        self._last_read[key] = self.loop.time()
        if self.refuses:
            raise Unavailable(f"n{self.number} is about to stop")
        if not self.held.get(key):
            raise VersionNotFound(f"n{self.number} has nothing of {key}")
        shards = self.agreed.ever[key].shards_of(rows)
        if not shards <= self.held[key]:
            epoch = self.epoch if self.hands_out is None else max(self.epoch, self.hands_out.epoch)
            raise RowsNotHeld(f"n{self.number} holds other parts of {key}", epoch)
        if any((key, shard) in self.damaged for shard in shards):
            raise TableDamaged(f"n{self.number} lost blocks of {key}")
        return rows_of(table.name, table.version, rows, table.row_bytes)

    def shard_map(self, known_epoch: int) -> pb.GetShardMapResponse:
        if self.hands_out is not None:
            return pb.GetShardMapResponse(epoch=self.hands_out.epoch, map=to_message(self.hands_out))
        is_news = self.map is not None and self.map.epoch > known_epoch
        return pb.GetShardMapResponse(epoch=self.epoch, map=to_message(self.map) if is_news else None)

    def read_since(self, when: float) -> list[VersionKey]:
        """Return the versions that it holds and was asked for since then."""
        return [key for key, last in self._last_read.items() if last >= when and key in self.held]

    def _seconds(self, question: Question) -> float:
        seconds = self.base_seconds() + self.extra_seconds + question.num_bytes * 1e-9
        return seconds + 0.05 * (self.dice.random() < self.slow_share)

    def _answer(self, question: Question) -> None:
        if question not in self._under_way:
            return  # it went down meanwhile
        if self.is_stopped:
            self._unanswered.append(question)
            return
        if question.is_cut_off():
            return
        del self._under_way[question]
        try:
            value = question.ask(self)
        except Exception as error:  # what a node refuses is its answer
            question.fail(error)
        else:
            question.answer(value)

    # What befalls it

    def die(self) -> None:
        """Break all connections, and refuse others."""
        self.is_up = self.announces_stop = self.refuses = False
        questions, self._under_way = list(self._under_way), {}
        self._unanswered.clear()
        self.when_dead()
        for question in questions:
            question.fail(Unavailable(f"n{self.number} went down"))

    def go_on(self) -> None:
        """Answer what came in while it was stopped."""
        self.is_stopped = False
        halted, self._halted = self._halted, []
        for each in halted:
            if not each.done():
                each.set_result(None)
        questions, self._unanswered = self._unanswered, []
        for question in questions:
            self.loop.call_later(self.base_seconds(), self._answer, question)

    async def running(self) -> None:
        """Go on at once, or when the node does."""
        while self.is_stopped:
            self._halted.append(self.loop.create_future())
            await self._halted[-1]

    def reached(self, question: Question) -> None:
        """Answer what was kept by a cut."""
        self._answer(question)

    def learn(self, shard_map: ShardMap) -> None:
        """Take note of a map; what it takes from the node goes a while later."""
        if not self.is_up or self.is_stopped or shard_map.epoch <= self.epoch:
            return
        self.map = shard_map
        due = [each for each in self._to_drop if each[0] <= shard_map.epoch]
        self._to_drop = [each for each in self._to_drop if each[0] > shard_map.epoch]
        for _, key, shard in due:
            self.loop.call_later(self.dice.uniform(0, _MOST_DROP_SECONDS), self._drop, key, shard)

    def drop_at(self, epoch: int, key: VersionKey, shard: int | None) -> None:
        """Drop a shard, or all of a version, once the node knows this epoch."""
        self._to_drop.append((epoch, key, shard))

    def hold(self, key: VersionKey, shard: int) -> None:
        self._to_drop = [each for each in self._to_drop if each[1:] != (key, shard)]
        self.held.setdefault(key, set()).add(shard)

    def _drop(self, key: VersionKey, shard: int | None) -> None:
        if shard is None:
            self.held.pop(key, None)
        elif key in self.held and self.number not in self._holders(key, shard):
            self.held[key].discard(shard)

    def _holders(self, key: VersionKey, shard: int) -> tuple[int, ...]:
        spread = self.agreed.spreads.get(key)
        return () if spread is None else (*spread.holders[shard], *(n for s, n in spread.joining.items() if s == shard))
