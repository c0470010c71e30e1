"""The nodes of the newest map: links to them, how they stand, and which of them are left out."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from engram_client.at_once import begin
from engram_client.cluster.latency import UsualLatency
from engram_client.cluster.linked_node import LinkedNode, NodeLink
from engram_client.cluster.node_health import is_outlier
from engram_client.cluster.replica_choice import Standing
from engram_client.cluster.trials import Trials

if TYPE_CHECKING:
    from engram_store.shard_map import ShardMap, VersionKey

_RECOUNT_AFTER_ANSWERS: Final = 32
_RECOUNT_AFTER_SECONDS: Final = 1.0
_FIRST_GUESS_SECONDS: Final = 0.001


class LinkedNodes:
    """Nodes by their numbers in the map that was taken last. Makes links with `connect`, from an address."""

    def __init__(self, connect: Callable[[str], NodeLink], dice: random.Random) -> None:
        self.usual = UsualLatency()
        """How long answers take, over all nodes."""
        self.usual_unit_seconds = _FIRST_GUESS_SECONDS
        """Seconds that the middle one of the nodes takes for a unit of work."""
        self._connect = connect
        self._dice = dice
        self._by_number: list[LinkedNode] = []
        self._by_id: dict[str, LinkedNode] = {}
        self._numbers: dict[str, int] = {}
        self._trials = Trials(self, dice)
        self._closing: set[asyncio.Task[None]] = set()  # links to former nodes
        self._answers = 0  # since what is usual was last counted
        self._recounted = -math.inf

    def __getitem__(self, number: int) -> LinkedNode:
        return self._by_number[number]

    def __len__(self) -> int:
        return len(self._by_number)

    def take(self, shard_map: ShardMap) -> None:
        """Link the nodes of a map; links to others are closed."""
        former, self._by_id = self._by_id, {}
        for node in shard_map.nodes:
            known = former.pop(node.id, None)
            if known is not None and known.address != node.address:
                begin(known.link.close(), self._closing)
                known = None
            if known is None:
                known = LinkedNode(node.id, node.address, self._connect(node.address))
                self._trials.greet(known)
            known.is_leaving = node.draining
            self._by_id[node.id] = known
        self._by_number = [self._by_id[node.id] for node in shard_map.nodes]
        self._numbers = {node.id: number for number, node in enumerate(shard_map.nodes)}
        for gone in former.values():
            begin(gone.link.close(), self._closing)

    def addresses(self) -> list[str]:
        """Return where nodes are, those that are ready first, each part in random order."""
        nodes = sorted(self._by_number, key=lambda node: (not node.is_sought, self._dice.random()))
        return [node.address for node in nodes]

    def numbers(self, ids: Iterable[str]) -> list[int]:
        """Return the numbers of those of the nodes with these ids that are in the map."""
        return [self._numbers[id_] for id_ in ids if id_ in self._numbers]

    def at(self, address: str) -> LinkedNode | None:
        """Return the node with an address."""
        return next((node for node in self._by_number if node.address == address), None)

    def standing(self, number: int, version: VersionKey, epoch: int) -> Standing:
        """Return how a node stands, for the choice among replicas of a version by the map of an epoch."""
        node, now = self._by_number[number], asyncio.get_running_loop().time()
        seconds = node.latency.seconds(self.usual_unit_seconds, now)
        has_refused = node.refusals.include(version, epoch, now)
        return Standing(node.health.ready, node.work_under_way, seconds, node.is_draining, node.has_room, has_refused)

    def answered(self, node: LinkedNode, seconds: float, work: float) -> None:
        """Take note that a node answered."""
        now = asyncio.get_running_loop().time()
        node.answered_at = now
        self.usual.record(seconds, work)
        node.latency.record(seconds, work, now)
        self._answers += 1
        if self._answers >= _RECOUNT_AFTER_ANSWERS or now >= self._recounted + _RECOUNT_AFTER_SECONDS:
            self._recount(now)
        node.health.let_in_more()
        self._count(node, was_slow=is_outlier(seconds / work, self.usual_unit_seconds))
        self.heard(node)

    def heard(self, node: LinkedNode) -> None:
        """Take note of what a node said of itself with whatever it answered."""
        self._trials.heard(node)

    def gave_up(self, node: LinkedNode, seconds: float, work: float) -> None:
        """Take note that a node had not answered after so long, when it was not waited for any more."""
        now = asyncio.get_running_loop().time()
        if seconds / work > node.latency.seconds(self.usual_unit_seconds, now):  # else nothing is learnt by it
            node.latency.record_at_least(seconds, work, now)
            if is_outlier(seconds / work, self.usual_unit_seconds):  # else it may have been about to answer
                self._count(node, was_slow=True)

    def was_overtaken(self, node: LinkedNode) -> None:
        """Take note that another replica was quicker, although it was asked later.

        How long the node would have taken is not known. That happens now and then to any; one to which it happens all
        the time is slow.
        """
        self._count(node, was_slow=True)

    def _count(self, node: LinkedNode, *, was_slow: bool) -> None:
        if node.health.is_slow_by_now(was_slow=was_slow):
            self.leave_out(node)

    def leave_out(self, node: LinkedNode) -> None:
        """Let nobody wait for a node that failed, until it has proved itself in trials."""
        now = asyncio.get_running_loop().time()
        if node.health.leave_out(now):
            self._trials.until_ready(node)

    async def close(self) -> None:
        """Close all links. Of a loop that is closed there are no tasks left to wait for."""
        await self._trials.close()
        closing = [task for task in self._closing if not task.get_loop().is_closed()]
        await asyncio.gather(*closing, return_exceptions=True)
        for node in self._by_id.values():
            await node.link.close()

    def include(self, node: LinkedNode) -> bool:
        """Tell whether a node is linked still."""
        return self._by_id.get(node.id) is node

    def usual_beside(self, judged: LinkedNode) -> float:
        """Return the usual_unit_seconds by what is known of the other nodes: alone it would be its own measure."""
        self._recount(asyncio.get_running_loop().time(), judged)
        return self.usual_unit_seconds

    def _recount(self, now: float, judged: LinkedNode | None = None) -> None:
        """Find what is usual of late, by all nodes: where only the quick ones counted, all could be left out for ever.

        A node that is `judged` by it has no say.
        """
        self._answers, self._recounted = 0, now
        others = [node.latency for node in self._by_number if node is not judged]
        recent = sorted(latency.remembered for latency in others if latency.is_recent(now))
        if recent:
            self.usual_unit_seconds = recent[(len(recent) - 1) // 2]
