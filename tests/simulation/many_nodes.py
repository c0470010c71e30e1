"""Placement in a cluster of very many nodes, by the product's steps, with neither clients nor a clock.

One event at a time: nodes join, are lost or leave, a next version is published. After each the map is stepped until it
rests, every node fetching at once what it is named for.
"""

from collections.abc import Callable
from dataclasses import replace

from simulation.least_moved import least_moved
from simulation.placement_watch import MOST_MOVED
from simulation.scenario import Scenario
from support.living_nodes import SETTINGS, LivingNodes
from support.placements import SHARD_BYTES, a_node, a_version

from engram_store.shard_map import ShardMap, TableSet, VersionKey
from store_server.cluster.next_map.map_steps import first_map

TABLES = ("layer-1", "layer-2")
_ZONES = "abcde"
_EVENTS = 4
_MOST_AT_ONCE = 20
_MOST_STEPS = 20


class ManyNodes:
    """A cluster as large as `scenario` says; `violate` hears of what must not be, `say` of all else."""

    def __init__(self, scenario: Scenario, violate: Callable[[str], None], say: Callable[[str], None]) -> None:
        self.moves = 0
        self._dice = scenario.dice("many nodes")
        self._violate, self._say = violate, say
        self._num_shards = self._dice.randint(scenario.num_nodes // 2, 2 * scenario.num_nodes)
        self._cluster = LivingNodes()
        self._join(scenario.num_nodes)
        first = first_map("many", scenario.replicas, self._cluster.registrations()).shard_map
        assert first is not None
        self._cluster.shard_map = first

    def live(self) -> None:
        """Let events happen, and judge what follows from each."""
        self._publish()
        self._come_to_rest("the first versions", leaving=set())
        for _ in range(_EVENTS):
            number = self._dice.randint(1, _MOST_AT_ONCE)
            event = self._dice.choice(("join", "lose", "leave", "publish"))
            leaving: set[str] = set()
            if event == "join":
                self._join(number)
            elif event == "publish":
                self._publish()
            else:
                leaving = self._let_go(number, for_good=event == "lose")
            self._come_to_rest(f"{event} {number}", leaving=leaving)

    def _join(self, number: int) -> None:
        known = len(self._cluster.nodes)
        for each in range(known, known + number):
            self._cluster.join(a_node(f"n{each:05}", zone=_ZONES[each % len(_ZONES)]))

    def _publish(self) -> None:
        known = self._cluster.shard_map
        each = known.sets.get("model", TableSet(name="model", current={}))
        fresh = [a_version(self._num_shards, table, f"v{known.epoch}") for table in TABLES]
        self._cluster.shard_map = replace(
            known,
            epoch=known.epoch + 1,
            versions={**known.versions, **{version.key: version for version in fresh}},
            sets={"model": replace(each, pending={version.table: version.version for version in fresh})},
        )

    def _let_go(self, number: int, *, for_good: bool) -> set[str]:
        """Lose nodes of one zone, as with a rack, or let nodes leave; returns their ids."""
        zone = self._dice.choice(_ZONES)
        there = [node.id for node in self._cluster.shard_map.nodes if node.labels["zone"] == zone or not for_good]
        names = self._dice.sample(sorted(set(there) & set(self._cluster.live)), number)
        for name in names:
            if for_good:
                self._cluster.die(name)
            else:
                self._cluster.drain(name)
        self._cluster.wait(SETTINGS.lost_after_seconds + 1)
        return set(names)

    def _come_to_rest(self, what: str, *, leaving: set[str]) -> None:
        before, moved, steps = self._cluster.shard_map, 0, 0
        while True:
            known = self._cluster.shard_map
            if not self._cluster.step():
                break
            moved += _bytes_moved(known, self._cluster.shard_map, before)
            steps += 1
            if steps > _MOST_STEPS:
                return self._violate(f"{what}: the map is not at rest after {_MOST_STEPS} steps")
            self._cluster.fetch_all()
        self.moves += moved > 0
        self._say(f"{what}: {steps} steps, {moved} bytes move")
        self._judge(what, before, moved, leaving)

    def _judge(self, what: str, before: ShardMap, moved: int, leaving: set[str]) -> None:
        known = self._cluster.shard_map
        draining = {node.id for node in known.nodes if node.draining}
        nodes = {node.id: node for node in (*before.nodes, *known.nodes)}.values()
        sizes = {key: [SHARD_BYTES] * self._num_shards for key in known.versions if key in before.versions}
        gone = leaving | draining | self._cluster.away.keys()
        fewest = least_moved(before, nodes, gone, _with_holders(before, sizes)) if moved else 0
        if fewest is None or moved > MOST_MOVED * fewest:
            self._violate(f"{what}: {moved} bytes move, and {fewest} need to")
        for version in known.versions.values():
            for number, shard in enumerate(version.shards):
                holders = [known.nodes[place] for place in shard.holders]
                zones = {node.labels["zone"] for node in holders}
                held = self._cluster.really_hold(version.key, number)
                if shard.joining or len(held) != known.replicas or len(zones) != known.replicas:
                    self._violate(f"{what}: shard {number} of {version.key} is held by {held} in {sorted(zones)}")


def _with_holders(shard_map: ShardMap, sizes: dict[VersionKey, list[int]]) -> dict[VersionKey, list[int]]:
    """Leave out versions that nobody had anything of: all of those must move."""
    return {
        key: size
        for key, size in sizes.items()
        if any(shard.holders or shard.joining for shard in shard_map.versions[key].shards)
    }


def _bytes_moved(known: ShardMap, following: ShardMap, before: ShardMap) -> int:
    """Return the bytes that nodes are to fetch from now on, of versions that had holders `before`."""
    moved = 0
    for key, version in following.versions.items():
        if key not in before.versions or not any(shard.holders for shard in before.versions[key].shards):
            continue
        for former, shard in zip(known.versions[key].shards, version.shards, strict=True):
            named = {known.nodes[place].id for place in (*former.holders, *former.joining)}
            moved += SHARD_BYTES * len({following.nodes[place].id for place in shard.joining} - named)
    return moved
