"""A simulated node as one of a placed cluster: the product's own part in it, on a simulated etcd and disk."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from simulation.agreed_map import address_of
from simulation.nodes import SimulatedNode
from simulation.simulated_disk import SimulatedDisk
from simulation.simulated_etcd import SimulatedEtcd
from simulation.simulated_meeting import SimulatedMeeting, SimulatedPublishers
from simulation.stepping import SteppingOnce

from engram_store.shard_map import Node, ShardMap, VersionKey
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.known_map import KnownMap
from store_server.cluster.map_follower import follow_map
from store_server.cluster.registration import BlockRanges, NodeRegistration

CLUSTER = "simulated"
KEEP_SECONDS = 12.0
_NOWHERE = Path("/nonexistent")


@dataclass(slots=True, eq=False)
class Traits:
    """What a node says of itself beside what it holds."""

    labels: dict[str, str] = field(default_factory=dict)
    capacity_bytes: int = 0
    free_bytes: int = 0
    """What its disk has room for beside the rows that are there, while it takes any."""
    draining: bool = False


class Member:
    """One node's part, from `start` to `stop`, each time as a new process that has only the node's disk and map."""

    def __init__(
        self,
        node: SimulatedNode,
        nodes: Sequence[SimulatedNode],
        traits: Traits,
        etcd: SimulatedEtcd,
        config: ClusterConfig,
        *,
        participation: type[SteppingOnce],
        blocks_of: Callable[[VersionKey, set[int]], BlockRanges],
        is_published: Callable[[VersionKey], bool],
        has_less: Callable[[], None],
        dice: random.Random,
    ) -> None:
        self.node, self.traits = node, traits
        self._meeting = SimulatedMeeting(etcd, node)
        self._publishers = SimulatedPublishers(etcd, node)
        self._config = config
        self._participation_type = participation
        self._blocks_of = blocks_of
        self._lives = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._participation: SteppingOnce | None = None
        self._known: KnownMap | None = None
        self.disk = SimulatedDisk(
            node,
            nodes,
            capacity_bytes=traits.capacity_bytes,
            free_bytes=traits.free_bytes,
            keep_seconds=KEEP_SECONDS,
            is_published=is_published,
            changed=self.changed,
            has_less=has_less,
            dice=dice,
        )

    def start(self) -> None:
        """Take part from now on, unless the node does already."""
        if self._tasks:
            return
        self._lives += 1
        before = self._known
        known = self._known = KnownMap(_NOWHERE, cluster=CLUSTER, is_kept=False)
        if before is not None and before.newest is not None:
            known.take(before.newest)  # it was kept on the disk
        self._participation = self._participation_type(
            self._config,
            CLUSTER,
            known,
            self._meeting,
            self._meeting,
            self._publishers,
            self._describe,
            now=asyncio.get_running_loop().time,
        )
        self._participation.node = self.node
        self._tasks = [asyncio.create_task(self._take_part(self._participation)), asyncio.create_task(self._follow())]
        if known.newest is not None:
            self.disk.look(known.newest)

    def stop(self) -> None:
        """Be gone, without a word."""
        for task in self._tasks:
            task.cancel()
        self._tasks = []
        self.disk.stop()

    def changed(self) -> None:
        """Let others know soon what the node says of itself."""
        if self._participation is not None:
            self._participation.holdings_changed()

    async def _take_part(self, participation: SteppingOnce) -> None:
        await participation.join()
        await participation.run()

    async def _follow(self) -> None:
        assert self._participation is not None
        assert self._known is not None
        await follow_map(self._meeting, self._known, self._heard, self._participation.source_failed)

    def _heard(self, found: ShardMap | None) -> None:
        assert self._participation is not None
        assert self._known is not None
        if self._known.newest is not None:
            self.node.learn(self._known.newest)
            self.disk.look(self._known.newest)
        self._participation.heard(found)

    def _describe(self) -> NodeRegistration:
        number, traits = self.node.number, self.traits
        return NodeRegistration(
            node=Node(
                id=f"n{number}",
                address=address_of(number),
                labels=traits.labels,
                capacity_bytes=self.disk.capacity_bytes,
                draining=traits.draining,
            ),
            incarnation=f"life {self._lives}",
            held={key: self._blocks_of(key, numbers) for key, numbers in sorted(self.node.held.items())},
            read=frozenset(self.node.read_since(asyncio.get_running_loop().time() - self._config.retire_after_seconds)),
            disk_failure=self.disk.failure,
        )
