"""A cluster whose map follows from what its nodes do: each takes the product's steps, over a simulated etcd."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from simulation.agreed_map import AgreedMap, number_at
from simulation.event_log import EventLog
from simulation.member import Member
from simulation.nodes import SimulatedNode
from simulation.placed_tables import TableSize, traits_at_random
from simulation.placement_events import PlacementEvents
from simulation.placement_watch import PlacementWatch
from simulation.scenario import ROW_BYTES, Scenario
from simulation.simulated_etcd import Process, SimulatedEtcd
from simulation.stepping import SharedSteps, SteppingOnce

from engram_store.shard_map import ShardMap, VersionKey
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.registration import BlockRanges

_CONFIG = ClusterConfig(
    url="etcd://simulated/simulated",
    node_id="n0",
    lease_seconds=3,
    lost_after_seconds=12.0,
    all_lost_after_seconds=40.0,
    retire_after_seconds=8.0,
    retire_at_latest_seconds=40.0,
)
_LOOK_SECONDS = 1.0
_REST_SECONDS = 8.0
_MOST_SECONDS_TO_REST = 150.0


class Placement:
    """Starts the nodes' parts, lets things happen to them, and sees the map come to rest. Called as Controller is."""

    def __init__(
        self,
        scenario: Scenario,
        sets: dict[str, list[str]],
        agreed: AgreedMap,
        nodes: list[SimulatedNode],
        log: EventLog,
        violate: Callable[[str], None],
        stepping: type[SteppingOnce],
    ) -> None:
        self.agreed, self.nodes = agreed, nodes
        self.sets = sets
        self._log = log
        self._violate = violate
        self._dice = scenario.dice("placement")
        self.etcd = SimulatedEtcd(_CONFIG.lease_seconds, self._agreed, scenario.dice("etcd"))
        self._steps = SharedSteps(violate)
        config = replace(_CONFIG, replicas=agreed.replicas)
        self.watch = PlacementWatch(self.etcd, nodes, agreed, config, violate)
        row_bytes = self._dice.choice(ROW_BYTES)  # of all tables: then all shards are of one size
        tables = [table for tables in sets.values() for table in tables]
        self.sizes = {table: TableSize.drawn(self._dice, len(nodes), row_bytes) for table in tables}
        self.published: set[VersionKey] = set()
        traits = traits_at_random(
            self._dice, len(nodes), agreed.replicas * sum(each.num_bytes for each in self.sizes.values())
        )
        self.members = [
            Member(
                node,
                nodes,
                traits[node.number],
                self.etcd,
                replace(config, node_id=f"n{node.number}"),
                participation=self._steps.taken_by(stepping),
                blocks_of=self._blocks_of,
                is_published=self.published.__contains__,
                has_less=partial(self.watch.note_lost_rows, f"n{node.number}"),
                dice=scenario.dice(f"disk {node.number}"),
            )
            for node in nodes
        ]
        for node in nodes:
            node.when_dead = self.members[node.number].stop
        self._events = PlacementEvents(self, scenario.dice("events"), log)
        self.absent = set(range(len(nodes) - scenario.joins, len(nodes)))
        self._etcd_is_away = False

    # From the first node on

    async def begin(self) -> None:
        """Return once there is a map, with a first version of every table."""
        for node in self.nodes:
            if node.number in self.absent:
                node.is_up = False
            else:
                self.tell(node)
        while not self.agreed.epochs:
            await asyncio.sleep(_LOOK_SECONDS)
        for name in self.sets:
            while name not in self.agreed.current:
                await self._events.publish(name)

    async def change_now_and_then(self, seconds: float, mean_pause: float) -> None:
        await self._events.happen(seconds, mean_pause)

    async def come_to_rest(self) -> None:
        """See that all is where it should be, some time after the last fault, and that nothing changes any more."""
        self._events.lose_one_for_good()
        loop = asyncio.get_running_loop()
        deadline, since, last = loop.time() + _MOST_SECONDS_TO_REST, loop.time(), self.agreed.newest
        while loop.time() < min(deadline, since + _REST_SECONDS) or self._may_change():
            if loop.time() >= deadline:
                self._violate(f"the map does not come to rest within {_MOST_SECONDS_TO_REST:g} s")
                break
            await asyncio.sleep(_LOOK_SECONDS)
            if self.agreed.newest is not last:
                since, last = loop.time(), self.agreed.newest
        up = {f"n{node.number}" for node in self.nodes if node.is_up}
        self.watch.judge_rest(last, up)
        for node in self.nodes:
            if node.is_up and node.epoch != last.epoch:
                self._violate(f"n{node.number} knows the map of epoch {node.epoch}, and the newest is {last.epoch}")

    async def stop(self) -> None:
        """End the nodes' parts; what they hold stays, and the map."""
        for member in self.members:
            member.stop()
        await asyncio.sleep(0)

    # What faults ask and tell

    @property
    def etcd_is_away(self) -> bool:
        return self._etcd_is_away

    @etcd_is_away.setter
    def etcd_is_away(self, is_away: bool) -> None:
        self._etcd_is_away = is_away
        if is_away:
            self.etcd.go_away(leases_lapse=self._dice.random() < 0.7)
        else:
            self.etcd.come_back()

    def is_covered(self, *, without: int | None = None) -> bool:
        """Tell whether fewer nodes are bad than there are replicas, one more perhaps, and each shard is served."""
        bad = {number for number in self.in_map() if not self.nodes[number].is_good or self._lacks(number)}
        if without is not None:
            bad.add(without)
        if len(bad) >= self.agreed.replicas:
            return False
        return all(
            any(node != without and self.nodes[node].serves(spread.key, shard) for node in holders)
            for spread in self.agreed.spreads.values()
            for shard, holders in enumerate(spread.holders)
            if holders
        )

    def tell(self, node: SimulatedNode) -> None:
        """Let a node that is up take part."""
        if node.is_up:
            self.absent.discard(node.number)
            self.members[node.number].start()

    def lost_its_disk(self, node: SimulatedNode) -> None:
        """Excuse those who do not know yet that a node has nothing any more."""
        self.watch.note_lost_rows(f"n{node.number}")

    def refill(self, node: SimulatedNode) -> None:
        """Nothing: a node fetches by itself what it is to hold."""
        self.tell(node)

    # What is known

    def _agreed(self, shard_map: ShardMap, process: Process) -> None:
        before = self.agreed.newest if self.agreed.epochs else None
        self.agreed.take(shard_map)
        moves = self.watch.moved_bytes
        if before is not None:
            self.watch.judge(before, shard_map, process)
        self._log.say(
            f"map {shard_map.epoch}: {len(shard_map.nodes)} nodes, {self.watch.moved_bytes - moves} bytes move"
        )

    def _may_change(self) -> bool:
        """Tell whether a node or a publisher is away that is not lost yet."""
        return any(each.pending for each in self.agreed.newest.sets.values()) or (
            any(self.etcd.seconds_absent(node.id) > 0 for node in self.agreed.newest.nodes)
            and len(self.agreed.newest.nodes) > self.agreed.replicas
        )

    def in_map(self) -> list[int]:
        return sorted(number_at(node.address) for node in self.agreed.newest.nodes)

    def _lacks(self, number: int) -> bool:
        held = self.nodes[number].held
        return any(
            number in holders and shard not in held.get(spread.key, ())
            for spread in self.agreed.spreads.values()
            for shard, holders in enumerate(spread.holders)
        )

    def _blocks_of(self, key: VersionKey, shards: set[int]) -> BlockRanges:
        ranges: list[tuple[int, int]] = []
        for shard in sorted(shards):
            first, end = self.agreed.blocks_of(key, shard)
            if ranges and ranges[-1][1] == first:
                first = ranges.pop()[0]
            ranges.append((first, end))
        return tuple(ranges)
