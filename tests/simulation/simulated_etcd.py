"""What nodes agree by: the map, swapped by its epoch, and who is registered under a lease. Nodes may not reach it."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping

from simulation.nodes import SimulatedNode

from engram_store.shard_map import ShardMap
from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.cluster.registration import NodeRegistration

_TELLING_SECONDS = 0.1
_MOST_LAG_SECONDS = 0.2
_LONGEST_ANSWER_SECONDS = 0.02
_LOST_ANSWERS = 0.02
KNOWN_TO_ALL_SECONDS = 2.0


class SimulatedEtcd:
    """Everything that etcd has. `agreed` hears of each map that is stored, after it was."""

    def __init__(self, lease_seconds: float, agreed: Callable[[ShardMap], None], dice: random.Random) -> None:
        self.shard_map: ShardMap | None = None
        self.present: dict[str, NodeRegistration] = {}
        """By id."""
        self.is_away = False
        self._leases_lapse = False
        self._lease_seconds = lease_seconds
        self._agreed = agreed
        self._dice = dice
        self._loop = asyncio.get_running_loop()
        self._leases: dict[str, asyncio.TimerHandle] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._picture: Mapping[str, NodeRegistration] = {}  # of who is present, the same for all who watch
        self._is_telling = False
        self._absent_since: dict[str, float] = {}
        self._was_absent: dict[str, tuple[float, float]] = {}  # seconds, and when that ended
        self._seconds_seen, self._seen_since = 0.0, self._loop.time()

    # What befalls it

    def go_away(self, *, leases_lapse: bool) -> None:
        """Answer nobody, and either go on counting or, as when it starts anew, grant all leases their whole time."""
        self._seconds_seen = self._visible_seconds()
        self.is_away, self._leases_lapse = True, leases_lapse
        self._tell()

    def come_back(self) -> None:
        self.is_away, self._seen_since = False, self._loop.time()
        self._tell()

    def look_again(self) -> None:
        """Let those who watch find out whether they reach it."""
        self._tell()

    # What is true, for those who judge

    def now(self) -> float:
        return self._loop.time()

    def seconds_absent(self, node_id: str) -> float:
        """Return for how long, while anybody could have seen it, a node has not been registered.

        Who has just come back counts as absent for a moment longer, until all know.
        """
        if node_id in self.present:
            seconds, ended = self._was_absent.get(node_id, (0.0, 0.0))
            return seconds if self._loop.time() < ended + KNOWN_TO_ALL_SECONDS else 0.0
        return self._visible_seconds() - self._absent_since.get(node_id, 0.0)

    # What nodes ask of it

    async def follow(self, node: SimulatedNode | None) -> AsyncGenerator[ShardMap | None, None]:
        """Yield the map whenever there is another."""
        seen: ShardMap | str | None = "nothing"
        while True:
            await self._reach(node)
            if self.shard_map is not seen:
                seen = self.shard_map
                yield self.shard_map
            else:
                await self._news()

    async def watch(self, node: SimulatedNode | None) -> AsyncGenerator[Mapping[str, NodeRegistration], None]:
        """Yield who is registered whenever that changes."""
        seen: Mapping[str, NodeRegistration] | None = None
        while True:
            await self._reach(node)
            if self._picture is not seen:
                seen = self._picture
                yield seen
            else:
                await self._news()

    async def compare_and_swap(self, node: SimulatedNode | None, expected_epoch: int, shard_map: ShardMap) -> bool:
        await self._ask(node)
        if (self.shard_map.epoch if self.shard_map is not None else 0) != expected_epoch:
            return False
        self.shard_map = shard_map
        self._agreed(shard_map)
        self._tell()
        if self._dice.random() < _LOST_ANSWERS:
            raise MapSourceFailed("the answer was lost")
        return True

    async def register(self, node: SimulatedNode, registration: NodeRegistration) -> None:
        await self._ask(node)
        node_id = registration.node.id
        if node_id in self._leases:
            self._leases[node_id].cancel()
        self._leases[node_id] = self._loop.call_later(self._lease_seconds, self._lapse, node_id)
        if node_id not in self.present:
            self._was_absent[node_id] = self.seconds_absent(node_id), self._loop.time()
        if self.present.get(node_id) != registration:
            self.present[node_id] = registration
            self._tell()

    async def _ask(self, node: SimulatedNode | None) -> None:
        await self._reach(node)
        await asyncio.sleep(self._dice.uniform(0, _LONGEST_ANSWER_SECONDS))
        await self._reach(node)

    async def _reach(self, node: SimulatedNode | None) -> None:
        if node is not None:
            await node.running()
        if self.is_away or (node is not None and not node.reaches_etcd):
            raise MapSourceFailed("etcd cannot be reached")

    async def _news(self) -> None:
        news: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(news)
        await news

    def _tell(self) -> None:
        """Wake those who watch, in a moment: what happens meanwhile they hear of together."""
        if not self._is_telling:
            self._is_telling = True
            self._loop.call_later(_TELLING_SECONDS, self._tell_now)

    def _tell_now(self) -> None:
        self._is_telling = False
        if self._picture != self.present:
            self._picture = dict(self.present)
        waiting, self._waiting = self._waiting, []
        for news in waiting:
            self._loop.call_later(self._dice.uniform(0, _MOST_LAG_SECONDS), _be_over, news)

    def _lapse(self, node_id: str) -> None:
        self._leases[node_id].cancel()
        if self.is_away and not self._leases_lapse:
            self._leases[node_id] = self._loop.call_later(self._lease_seconds, self._lapse, node_id)
        elif node_id in self.present:
            self._absent_since[node_id] = self._visible_seconds()
            del self.present[node_id]
            self._tell()

    def _visible_seconds(self) -> float:
        return self._seconds_seen + (0.0 if self.is_away else self._loop.time() - self._seen_since)


class SimulatedMeeting:
    """etcd as one node reaches it, or None as a publisher does: a MapSource and a Registry."""

    def __init__(self, etcd: SimulatedEtcd, node: SimulatedNode | None = None) -> None:
        self._etcd = etcd
        self._node = node

    def follow(self) -> AsyncGenerator[ShardMap | None, None]:
        return self._etcd.follow(self._node)

    async def compare_and_swap(self, expected_epoch: int, shard_map: ShardMap) -> bool:
        return await self._etcd.compare_and_swap(self._node, expected_epoch, shard_map)

    async def register(self, registration: NodeRegistration, *, again: bool = False) -> None:  # noqa: ARG002
        assert self._node is not None
        await self._etcd.register(self._node, registration)

    async def leave(self) -> None:
        """Never asked for: nodes here go without a word."""

    def watch(self) -> AsyncGenerator[Mapping[str, NodeRegistration], None]:
        return self._etcd.watch(self._node)


def _be_over(news: asyncio.Future[None]) -> None:
    if not news.done():
        news.set_result(None)
