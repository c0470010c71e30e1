"""What nodes agree by: the map, swapped by its epoch, and who is registered under a lease. Some may not reach it."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Protocol

from engram_store.shard_map import ShardMap
from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.cluster.registration import NodeRegistration

_TELLING_SECONDS = 0.1
_MOST_LAG_SECONDS = 0.2
_LONGEST_ANSWER_SECONDS = 0.02
_LOST_ANSWERS = 0.02
KNOWN_TO_ALL_SECONDS = 2.0


class Process(Protocol):
    """A node or a publisher, as far as etcd is concerned."""

    reaches_etcd: bool

    async def running(self) -> None:
        """Go on at once, or when the process does."""
        ...


Picture = tuple[Mapping[str, NodeRegistration], frozenset[str]]
"""Nodes by id, and publishers."""


class SimulatedEtcd:
    """Everything that etcd has. `agreed` hears of each map that is stored, after it was, and who has stored it."""

    def __init__(self, lease_seconds: float, agreed: Callable[[ShardMap, Process], None], dice: random.Random) -> None:
        self.shard_map: ShardMap | None = None
        self.present: dict[str, NodeRegistration] = {}
        """By id."""
        self.publishers: set[str] = set()
        self.is_away = False
        self._leases_lapse = False
        self._lease_seconds = lease_seconds
        self._agreed = agreed
        self._dice = dice
        self._loop = asyncio.get_running_loop()
        self._leases: dict[str, asyncio.TimerHandle] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._picture: Picture = {}, frozenset()  # of who is present, the same for all who watch
        self._is_telling = False
        self._absent_since: dict[str, float] = {}
        self._failing_since: dict[str, float] = {}
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

    def seconds_absent(self, name: str) -> float:
        """Return for how long, while anybody could have seen it, a node or publisher has not been registered.

        Who has just come back counts as absent for a moment longer, until all know.
        """
        if name in self.present or name in self.publishers:
            seconds, ended = self._was_absent.get(name, (0.0, 0.0))
            return seconds if self._loop.time() < ended + KNOWN_TO_ALL_SECONDS else 0.0
        return self._visible_seconds() - self._absent_since.get(name, 0.0)

    def failing(self) -> set[str]:
        """Return the nodes that are there and of which all know that their disk takes no more rows."""
        known = self._loop.time() - KNOWN_TO_ALL_SECONDS
        return {name for name, since in self._failing_since.items() if since < known}

    # What nodes ask of it

    async def follow(self, process: Process) -> AsyncGenerator[ShardMap | None, None]:
        """Yield the map whenever there is another."""
        seen: ShardMap | str | None = "nothing"
        while True:
            await self._reach(process)
            if self.shard_map is not seen:
                seen = self.shard_map
                yield self.shard_map
            else:
                await self._news()

    async def watch(self, process: Process) -> AsyncGenerator[Mapping[str, NodeRegistration], None]:
        """Yield which nodes are registered whenever that changes."""
        seen: Mapping[str, NodeRegistration] | None = None
        while True:
            await self._reach(process)
            if self._picture[0] is not seen:
                seen = self._picture[0]
                yield seen
            else:
                await self._news()

    async def watch_publishers(self, process: Process) -> AsyncGenerator[frozenset[str], None]:
        """Yield who is publishing whenever that changes."""
        seen: frozenset[str] | None = None
        while True:
            await self._reach(process)
            if self._picture[1] != seen:
                seen = self._picture[1]
                yield seen
            else:
                await self._news()

    async def compare_and_swap(self, process: Process, expected_epoch: int, shard_map: ShardMap) -> bool:
        await self._ask(process)
        if (self.shard_map.epoch if self.shard_map is not None else 0) != expected_epoch:
            return False
        self.shard_map = shard_map
        self._agreed(shard_map, process)
        self._tell()
        if self._dice.random() < _LOST_ANSWERS:
            raise MapSourceFailed("the answer was lost")
        return True

    async def register(self, process: Process, registration: NodeRegistration) -> None:
        await self._ask(process)
        name = registration.node.id
        self._renew(name, is_new=name not in self.present)
        if self.present.get(name) != registration:
            self.present[name] = registration
            self._tell()
        if not registration.disk_failure:
            self._failing_since.pop(name, None)
        else:
            self._failing_since.setdefault(name, self._loop.time())

    async def register_publisher(self, process: Process, name: str) -> None:
        await self._ask(process)
        self._renew(name, is_new=name not in self.publishers)
        if name not in self.publishers:
            self.publishers.add(name)
            self._tell()

    async def leave_publisher(self, process: Process, name: str) -> None:
        await self._ask(process)
        self._lapse(name)

    def _renew(self, name: str, *, is_new: bool) -> None:
        if name in self._leases:
            self._leases[name].cancel()
        self._leases[name] = self._loop.call_later(self._lease_seconds, self._lapse, name)
        if is_new:
            self._was_absent[name] = self.seconds_absent(name), self._loop.time()

    async def _ask(self, process: Process) -> None:
        await self._reach(process)
        await asyncio.sleep(self._dice.uniform(0, _LONGEST_ANSWER_SECONDS))
        await self._reach(process)

    async def _reach(self, process: Process) -> None:
        await process.running()
        if self.is_away or not process.reaches_etcd:
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
        nodes = self._picture[0] if self._picture[0] == self.present else dict(self.present)
        self._picture = nodes, frozenset(self.publishers)
        waiting, self._waiting = self._waiting, []
        for news in waiting:
            self._loop.call_later(self._dice.uniform(0, _MOST_LAG_SECONDS), _be_over, news)

    def _lapse(self, name: str) -> None:
        if name in self._leases:
            self._leases[name].cancel()
        if self.is_away and not self._leases_lapse:
            self._leases[name] = self._loop.call_later(self._lease_seconds, self._lapse, name)
        elif name in self.present or name in self.publishers:
            self._absent_since[name] = self._visible_seconds()
            self.present.pop(name, None)
            self._failing_since.pop(name, None)
            self.publishers.discard(name)
            self._tell()

    def _visible_seconds(self) -> float:
        return self._seconds_seen + (0.0 if self.is_away else self._loop.time() - self._seen_since)


def _be_over(news: asyncio.Future[None]) -> None:
    if not news.done():
        news.set_result(None)
