"""What happens in a placed cluster beside faults: publishing, nodes that join or drain, lost rows, cuts from etcd."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from simulation.event_log import EventLog
from simulation.simulated_disk import PUBLISHER
from simulation.simulated_meeting import PublisherProcess, SimulatedMeeting, SimulatedPublishers

from engram_store.shard_map import VersionKey
from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.cluster.agreement.meeting_point import MeetingPoint
from store_server.cluster.living_cluster import LivingCluster
from store_server.cluster.next_map.publishing import CannotPublish
from store_server.cluster.publication import publish

if TYPE_CHECKING:
    from simulation.placement import Placement

_LOOK_SECONDS = 1.0
_PUBLISH_SECONDS = 60.0
_LONGEST_CUT_SECONDS = 60.0
_LONGEST_LIFE_SECONDS = 4.0  # of a publisher that dies, or stands still: most need less to publish


class PlacementEvents:
    """Draws what happens to a cluster."""

    def __init__(self, placement: "Placement", dice: random.Random, log: EventLog) -> None:
        self._placement = placement
        self._dice = dice
        self._log = log
        self._newest_version = 0

    async def happen(self, seconds: float, mean_pause: float) -> None:
        """Draw events, about one in `mean_pause` seconds, and wait for those that take their time."""
        now = asyncio.get_running_loop().time
        end = now() + seconds
        kinds = {
            self.publish: 3,
            self._join: 3,
            self._drain: 2,
            self._lose: 2,
            self._cut_off_from_etcd: 2,
            self._fill: 2,
        }
        async with asyncio.TaskGroup() as group:
            while now() + (pause := self._dice.expovariate(1 / mean_pause)) < end:
                await asyncio.sleep(pause)
                kind: Callable[[], Coroutine[Any, Any, None]] = self._dice.choices(list(kinds), list(kinds.values()))[0]
                group.create_task(kind())

    async def publish(self, name: str = "") -> None:
        name = name or self._dice.choice(list(self._placement.sets))
        self._newest_version += 1
        version = f"v{self._newest_version}"
        manifests = {table: self._placement.sizes[table].manifest(version) for table in self._placement.sets[name]}
        keys = {VersionKey(table, version) for table in manifests}
        self._placement.published |= keys
        process, publisher = PublisherProcess(), f"publisher of {version}"
        publishing = asyncio.create_task(
            publish(
                self._cluster_of(process),
                name,
                manifests,
                source=PUBLISHER,
                replicas=None,
                allow_change=False,
                timeout=_PUBLISH_SECONDS,
                publisher=publisher,
            )
        )
        befalling = asyncio.create_task(self._befall(process, publisher, publishing))
        try:
            await publishing
        except (CannotPublish, MapSourceFailed, asyncio.CancelledError) as error:
            self._log.say(f"{version} of {name} is not published: {error}")
            await asyncio.sleep(_LOOK_SECONDS)
        if process.is_dead or self._dice.random() < 0.5:
            self._placement.published -= keys
        befalling.cancel()

    def _cluster_of(self, process: PublisherProcess) -> LivingCluster:
        meeting = SimulatedMeeting(self._placement.etcd, process)
        publishers = SimulatedPublishers(self._placement.etcd, process)
        return LivingCluster(
            MeetingPoint(where="here", source=meeting, registry=meeting, publishers=publishers, close=_nothing)
        )

    async def _befall(self, process: PublisherProcess, publisher: str, publishing: "asyncio.Task[None]") -> None:
        """Let a publisher die, or stand still for a while, or neither."""
        what = self._dice.choice(("dies", "stands still", "", ""))
        await asyncio.sleep(self._dice.uniform(0, _LONGEST_LIFE_SECONDS))
        if what:
            self._log.say(f"{publisher} {what}")
        if what == "dies":
            process.die()
            self._placement.watch.note_dead_publisher(publisher)
            publishing.cancel()
        elif what:
            process.stop()
            await asyncio.sleep(self._dice.uniform(0, _LONGEST_CUT_SECONDS / 2))
            process.go_on()

    async def _join(self) -> None:
        if self._placement.absent:
            node = self._placement.nodes[min(self._placement.absent)]
            self._log.say(f"n{node.number} joins")
            node.is_up = True
            self._placement.tell(node)

    async def _drain(self) -> None:
        """Let a node announce that it leaves for good, and perhaps think better of it."""
        staying = [number for number in self._placement.in_map() if not self._placement.members[number].traits.draining]
        if len(staying) <= self._placement.agreed.replicas + 1:
            return
        member = self._placement.members[self._dice.choice(staying)]
        self._log.say(f"n{member.node.number} drains")
        member.traits.draining = True
        member.changed()
        if self._dice.random() < 0.5:
            await asyncio.sleep(self._dice.uniform(0, _LONGEST_CUT_SECONDS / 2))
            member.traits.draining = False
            member.changed()

    async def _lose(self) -> None:
        """Let a node find blocks of a few shards bad."""
        number = self._dice.choice(self._placement.in_map())
        node = self._placement.nodes[number]
        if not node.is_good or not self._placement.is_covered(without=number):
            return
        for key in sorted(node.held):
            node.held[key] -= {shard for shard in sorted(node.held[key]) if self._dice.random() < 0.2}
        self._log.say(f"n{number} loses some shards")
        self._placement.watch.note_lost_rows(f"n{number}")
        self._placement.members[number].disk.held_changed()

    async def _cut_off_from_etcd(self) -> None:
        """Let one node, or at least half of them, not reach etcd for a while."""
        reaching = [
            self._placement.nodes[number]
            for number in self._placement.in_map()
            if self._placement.nodes[number].reaches_etcd
        ]
        number = self._dice.choice((1, (len(self._placement.in_map()) + 1) // 2))
        cut = self._dice.sample(reaching, min(number, len(reaching)))
        names = ", ".join(f"n{node.number}" for node in cut)
        self._log.say(f"{names} do not reach etcd")
        for node in cut:
            node.reaches_etcd = False
        self._placement.etcd.look_again()
        await asyncio.sleep(self._dice.choice((1.0, _LONGEST_CUT_SECONDS)) * self._dice.random())
        for node in cut:
            node.reaches_etcd = True
        self._log.say(f"{names} reach etcd again")

    async def _fill(self) -> None:
        """Let the disk of a node take no more rows for a while."""
        node = self._placement.nodes[self._dice.choice(self._placement.in_map())]
        if node.takes_no_rows:
            return
        self._log.say(f"the disk of n{node.number} is full")
        node.takes_no_rows = True
        await asyncio.sleep(self._dice.uniform(0, _LONGEST_CUT_SECONDS))
        node.takes_no_rows = False
        self._log.say(f"the disk of n{node.number} has room again")

    def lose_one_for_good(self) -> None:
        numbers = self._placement.in_map()
        if self._dice.random() < 0.3 and len(numbers) > self._placement.agreed.replicas:
            number = self._dice.choice(numbers)
            if self._placement.is_covered(without=number):
                self._log.say(f"n{number} dies for good")
                self._placement.nodes[number].die()


async def _nothing() -> None:
    pass
