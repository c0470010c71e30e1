"""What a node of a placed cluster does about the shards that it is to hold: it fetches them, and lets others go."""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from simulation.agreed_map import number_at
from simulation.nodes import SimulatedNode

from engram_store.shard_map import ShardMap, VersionKey
from store_server.cluster.holdings.room import Room
from store_server.cluster.holdings.wanted import WantedShard, wanted_shards
from store_server.storage import DiskFull

PUBLISHER = "file:///published"
_SHARDS_AT_ONCE = 4
_MOST_SECONDS_A_COPY = 0.5
_PAUSE_SECONDS = 0.5
_LOOK_SECONDS = 1.0

ShardName = tuple[VersionKey, int]


class SimulatedDisk:
    """Follows the maps that the node is told of. `changed` is called whenever it holds something else, and `has_less`
    before that when it let something go.

    A shard comes from a node that answers and has it, or from its publisher while `is_published` says so, unless the
    disk is full. What has not been wanted for `keep_seconds` goes. The node states that it can hold `capacity_bytes`, 0
    for as much as others; whenever it is not full, the disk has room for `free_bytes` more.
    """

    def __init__(
        self,
        node: SimulatedNode,
        nodes: Sequence[SimulatedNode],
        *,
        capacity_bytes: int,
        free_bytes: int,
        keep_seconds: float,
        is_published: Callable[[VersionKey], bool],
        changed: Callable[[], None],
        has_less: Callable[[], None],
        dice: random.Random,
    ) -> None:
        self._node = node
        self._nodes = nodes
        self._keep_seconds = keep_seconds
        self._is_published = is_published
        self._changed = changed
        self._has_less = has_less
        self._dice = dice
        self._loop = asyncio.get_running_loop()
        self._is_in_map = False
        self._wanted: dict[ShardName, WantedShard] = {}
        self._unwanted_since: dict[ShardName, float] = {}
        self._copying: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._capacity_bytes = capacity_bytes
        self._space = _Space(node, free_bytes)
        self._room = self._room_as_known_at_first()
        self._trying: asyncio.TimerHandle | None = None

    @property
    def capacity_bytes(self) -> int:
        """How much the node says that it can hold."""
        return self._room.limited(self._capacity_bytes)

    @property
    def failure(self) -> str:
        """Why the node says that its disk takes no more rows, if it says so."""
        return self._room.failure

    def look(self, shard_map: ShardMap) -> None:
        """Do what a map asks for."""
        node_id = f"n{self._node.number}"
        self._is_in_map = any(node.id == node_id for node in shard_map.nodes)
        if not self._is_in_map:
            return  # nobody knows the node: it keeps what it has
        self._wanted = {(shard.key, shard.number): shard for shard in wanted_shards(shard_map, node_id)}
        self._look_after()

    def held_changed(self) -> None:
        """See what is missing now: something was lost."""
        self._look_after()
        self._changed()

    def stop(self) -> None:
        for timer in (self._copying, self._looking, self._trying):
            if timer is not None:
                timer.cancel()
        self._copying = self._looking = self._trying = None
        self._unwanted_since.clear()
        self._room = self._room_as_known_at_first()

    def _room_as_known_at_first(self) -> Room:
        return Room(self._space, self._capacity_bytes, now=self._loop.time)

    def _look_after(self) -> None:
        held = {(key, number) for key, numbers in self._node.held.items() for number in numbers}
        now = self._loop.time()
        self._unwanted_since = {
            name: self._unwanted_since.get(name, now) for name in sorted(held) if name not in self._wanted
        }
        if self._unwanted_since and self._looking is None:
            due = min(self._unwanted_since.values()) + self._keep_seconds
            self._looking = self._loop.call_later(due - now, self._let_go)
        if self._copying is None and any(name not in held for name in self._wanted):
            self._copying = self._loop.call_later(self._dice.uniform(0, _MOST_SECONDS_A_COPY), self._copy)

    def _copy(self) -> None:
        """Have a few of the missing shards, those for which there is a source."""
        self._copying = None
        if self._node.is_stopped:
            self._copying = self._loop.call_later(_PAUSE_SECONDS, self._copy)
            return
        missing = [shard for shard in self._wanted.values() if not self._has(shard)]
        found = [shard for shard in missing if any(self._gives(source, shard) for source in shard.sources)]
        if found and self._node.takes_no_rows:
            self._room.failed(self._space.full())
            self._look_at_room()
            self._copying = self._loop.call_later(_PAUSE_SECONDS, self._copy)
            return
        for shard in found[:_SHARDS_AT_ONCE]:
            self._node.hold(shard.key, shard.number)
        if found:
            self._changed()
            self._look_after()
        elif missing:
            self._copying = self._loop.call_later(_PAUSE_SECONDS, self._copy)

    def _let_go(self) -> None:
        self._looking = None
        end = self._loop.time() - self._keep_seconds + 1e-6
        is_able = self._is_in_map and not self._node.is_stopped
        due = [name for name, since in self._unwanted_since.items() if since <= end and is_able]
        for key, number in due:
            self._node.held[key].discard(number)
            if not self._node.held[key]:
                del self._node.held[key]
        if due:
            self._has_less()
            self._changed()
        if not is_able:
            self._looking = self._loop.call_later(_PAUSE_SECONDS, self._let_go)
        else:
            self._look_after()

    def _look_at_room(self) -> None:
        """Let the node promise what it can, and look again as long as the disk takes nothing."""
        held = [(key, number) for key, numbers in self._node.held.items() for number in numbers]
        kept = [name for name in held if name in self._wanted]
        if self._room.look(held_bytes=self._bytes_of(held), kept_bytes=self._bytes_of(kept), makes_room=False):
            self._changed()
        if self._trying is not None:
            self._trying.cancel()
        self._trying = self._loop.call_later(_LOOK_SECONDS, self._look_at_room) if self._room.failure else None

    def _bytes_of(self, names: Iterable[ShardName]) -> int:
        return sum(self._node.agreed.shard_bytes(key)[number] for key, number in names)

    def _has(self, shard: WantedShard) -> bool:
        return shard.number in self._node.held.get(shard.key, ())

    def _gives(self, source: str, shard: WantedShard) -> bool:
        if source == PUBLISHER:
            return self._is_published(shard.key)
        return self._nodes[number_at(source.removeprefix("grpc://"))].serves(shard.key, shard.number)


class _Space:
    """What the product's Room asks a disk."""

    def __init__(self, node: SimulatedNode, free_bytes: int) -> None:
        self._node = node
        self._free_bytes = free_bytes

    def bytes_free(self) -> int:
        return 0 if self._node.takes_no_rows else self._free_bytes

    def write_something(self) -> None:
        if self._node.takes_no_rows:
            raise self.full()

    def full(self) -> DiskFull:
        return DiskFull(Path(f"n{self._node.number}"), bytes_needed=0, bytes_free=0)
