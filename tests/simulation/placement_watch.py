"""What must always hold of the maps that nodes agree upon, judged by what is true and not by what nodes believe."""

from collections.abc import Callable, Sequence

from simulation.agreed_map import AgreedMap, number_of
from simulation.least_moved import least_moved
from simulation.nodes import SimulatedNode
from simulation.simulated_etcd import KNOWN_TO_ALL_SECONDS, Process, SimulatedEtcd
from simulation.simulated_meeting import PublisherProcess

from engram_store.shard_map import Shard, ShardedVersion, ShardMap, TableSet, VersionKey
from store_server.cluster.cluster_config import ClusterConfig

MOST_MOVED = 1.5
_SECONDS_BETWEEN_LOOKS = 1.0
"""By so much two nodes may differ in for how long they have not seen a third one."""


class PlacementWatch:
    """Judges each map as it is agreed upon, and the last one when nothing has been wrong for long."""

    def __init__(
        self,
        etcd: SimulatedEtcd,
        nodes: Sequence[SimulatedNode],
        agreed: AgreedMap,
        config: ClusterConfig,
        violate: Callable[[str], None],
    ) -> None:
        self.moves = self.moved_bytes = 0
        self._etcd = etcd
        self._nodes = nodes
        self._agreed = agreed
        self._config = config
        self._violate = violate
        self._lost_rows: dict[str, float] = {}
        self._dead_publishers: set[str] = set()

    def note_lost_rows(self, name: str) -> None:
        """Count a node as having for a moment longer what it has just lost, until all know."""
        self._lost_rows[name] = self._etcd.now()

    def note_dead_publisher(self, name: str) -> None:
        """Count what a publisher has not made current by now as what must not become so."""
        self._dead_publishers.add(name)

    def judge(self, before: ShardMap, after: ShardMap, process: Process) -> None:
        """Judge one step from a map to the next, which some process has stored."""
        self._check_copies(before, after)
        self._check_switches(before, after)
        if not isinstance(process, PublisherProcess):
            self._check_pending(before, after)
        self._check_moves(before, after)
        self._check_full_disks(after)

    def judge_rest(self, last: ShardMap, up: set[str]) -> None:
        """Judge a map that has come to rest, when exactly the nodes `up` are there."""
        stay = {node.id: node for node in last.nodes if node.id in up and not node.draining}
        copies = min(last.replicas, len(stay))
        full = {name for name, registration in self._etcd.present.items() if registration.disk_failure}
        zones = {node.labels.get("zone") or node.id for node in stay.values() if node.id not in full}
        # Beside a full disk a node that does not say what it can hold is thought to have room for its share alone: too
        # little, perhaps, to make up for the full one within a zone.
        is_to_be_spread = not full or all(node.capacity_bytes for node in stay.values())
        for name in up - {node.id for node in last.nodes}:
            self._violate(f"{name} is there, and the map does not have it")
        for each in last.sets.values():
            if each.pending:
                self._violate(f"{dict(each.pending)} are pending still")
        for version in last.versions.values():
            for number, shard in enumerate(version.shards):
                names = [last.nodes[place].id for place in shard.holders]
                where = f"shard {number} of {version.key}, held by {names}, joined by {len(shard.joining)},"
                if len(names) != copies or shard.joining or not set(names) <= stay.keys():
                    self._violate(f"{where} has not {copies} holders of {sorted(stay)}")
                elif not all(self._has(name, version.key, number) for name in names):
                    self._violate(f"{where} is not held by all of them")
                elif is_to_be_spread and len({stay[name].labels.get("zone") or name for name in names}) < min(
                    copies, len(zones)
                ):
                    self._violate(f"{where} is not spread over {len(zones)} zones")
        self._check_capacities(last)

    def _check_capacities(self, last: ShardMap) -> None:
        load = [0] * len(last.nodes)
        for key, version in last.versions.items():
            for shard, size in zip(version.shards, self._agreed.shard_bytes(key), strict=True):
                for place in shard.holders:
                    load[place] += size
        for node, size in zip(last.nodes, load, strict=True):
            if 0 < node.capacity_bytes < size:
                self._violate(f"{node.id} holds {size} bytes and can hold {node.capacity_bytes}")

    def _check_copies(self, before: ShardMap, after: ShardMap) -> None:
        """See that no shard has fewer good copies than it had, unless they are more than are needed."""
        enough = self._enough(after)
        for key, version in after.versions.items():
            if key not in before.versions:
                continue
            for number, shard in enumerate(version.shards):
                had = self._good(before, before.versions[key].shards[number], key, number)
                named = {after.nodes[place].id for place in (*shard.holders, *shard.joining)}
                left = {name for name in named if self._has(name, key, number) or self._says(name, key, number)}
                if len(left) < min(enough, len(had)):
                    self._violate(
                        f"map {after.epoch}: shard {number} of {key} was held by {sorted(had)}, and of {sorted(named)} "
                        f"only {sorted(left)} have it"
                    )

    def _check_switches(self, before: ShardMap, after: ShardMap) -> None:
        enough = self._enough(after)
        for name, each in after.sets.items():
            known = before.sets.get(name, TableSet(name=name, current={}))
            switched = dict(each.current.items() - known.current.items())
            for item in sorted(switched.items()):
                self._check_whole(after, after.versions[VersionKey(*item)], enough)
            if switched and (switched != known.pending or known.publisher in self._dead_publishers):
                self._violate(
                    f"map {after.epoch}: {sorted(switched)} become current, and pending of {known.publisher!r} were "
                    f"{sorted(known.pending.items())}; dead are {sorted(self._dead_publishers)}"
                )

    def _check_pending(self, before: ShardMap, after: ShardMap) -> None:
        """See that nodes drop what is pending only if its publisher was not there for long enough."""
        for name, each in before.sets.items():
            following = after.sets.get(name)
            if each.pending and (following is None or following.publisher != each.publisher):
                absent = self._etcd.seconds_absent(each.publisher)
                if absent < self._config.lost_after_seconds:
                    self._violate(f"map {after.epoch}: nodes drop what {each.publisher!r} has pending: {absent:g} s")

    def _check_whole(self, after: ShardMap, version: ShardedVersion, enough: int) -> None:
        for number, shard in enumerate(version.shards):
            names = {after.nodes[place].id for place in shard.holders}
            has = {
                name for name in names if self._has(name, version.key, number) or self._says(name, version.key, number)
            }
            if len(has) < enough:
                self._violate(
                    f"map {after.epoch}: {version.key} becomes current, and only {sorted(has)} have shard {number}"
                )

    def _check_moves(self, before: ShardMap, after: ShardMap) -> None:
        moved = self._moved(before, after)
        if not moved:
            return
        self.moves += 1
        self.moved_bytes += moved
        draining = {node.id for node in after.nodes if node.draining}
        away = {node.id for node in after.nodes} - self._etcd.present.keys() - self._lost()
        failing = {name for name, registration in self._etcd.present.items() if registration.disk_failure}
        if failing or (away and any(node.labels for node in after.nodes)):
            return  # who is away or takes nothing gets nothing: then few may be left in the zones a shard may go to
        sizes = {key: self._agreed.shard_bytes(key) for key in after.versions if key in before.versions}
        lost_by_some = (self._lost(), self._lost(when_all_know=True), set[str]())
        bounds = [least_moved(before, after.nodes, draining | lost, sizes) for lost in lost_by_some]
        if None in bounds:
            return
        least = max(bound for bound in bounds if bound is not None)
        if moved > MOST_MOVED * least:
            self._violate(
                f"map {after.epoch}: {moved} bytes move, and {least:g} need to; lost are {sorted(self._lost())}"
            )

    def _check_full_disks(self, after: ShardMap) -> None:
        """See that a node that says that its disk takes no more rows is to fetch none."""
        failing = self._etcd.failing()
        for key, version in after.versions.items() if failing else ():
            for number, shard in enumerate(version.shards):
                joining = failing & {after.nodes[place].id for place in shard.joining}
                waits = {name for name in joining if not self._has(name, key, number)}
                if waits:
                    self._violate(
                        f"map {after.epoch}: {sorted(waits)} are to fetch shard {number} of {key} to a full disk"
                    )

    def _moved(self, before: ShardMap, after: ShardMap) -> int:
        """Return the bytes that are to be fetched by nodes that were not named for them before."""
        moved = 0
        for key in before.versions.keys() & after.versions.keys():
            shards = zip(
                before.versions[key].shards, after.versions[key].shards, self._agreed.shard_bytes(key), strict=True
            )
            for former, shard, size in shards:
                named = {before.nodes[place].id for place in (*former.holders, *former.joining)}
                moved += size * len({after.nodes[place].id for place in shard.joining} - named)
        return moved

    def _enough(self, after: ShardMap) -> int:
        lost = self._lost()
        stay = [node for node in after.nodes if not node.draining and node.id not in lost]
        return min(after.replicas, len(stay))

    def _lost(self, *, when_all_know: bool = False) -> set[str]:
        """Return who may be taken for lost: away for long enough, and if half went at once, for much longer.

        Those who have just come back are away for a moment longer, unless by somebody who knows `when_all_know`.
        """
        newest = self._agreed.newest
        away = {node.id: self._etcd.seconds_absent(node.id) for node in newest.nodes}
        if when_all_know:
            away = {name: seconds for name, seconds in away.items() if name not in self._etcd.present}
        away = {name: seconds for name, seconds in away.items() if seconds > 0}
        surely_together = self._config.lost_after_seconds - _SECONDS_BETWEEN_LOOKS
        lost = set()
        for name, seconds in away.items():
            together = sum(abs(other - seconds) < surely_together for other in away.values())
            are_many = together >= 2 and 2 * together >= len(newest.nodes)
            limit = self._config.all_lost_after_seconds if are_many else self._config.lost_after_seconds
            if seconds >= limit:
                lost.add(name)
        return lost

    def _good(self, shard_map: ShardMap, shard: Shard, key: VersionKey, number: int) -> set[str]:
        """Return the holders that say that they have a shard, and do; of who has just lost rows not all know it."""
        names = {shard_map.nodes[place].id for place in shard.holders}
        names -= {name for name in names if self._has_just_lost_rows(name)}
        return {name for name in names if self._has(name, key, number) and self._says(name, key, number)}

    def _has(self, name: str, key: VersionKey, number: int) -> bool:
        return self._has_just_lost_rows(name) or number in self._nodes[number_of(name)].held.get(key, ())

    def _has_just_lost_rows(self, name: str) -> bool:
        return self._etcd.now() < self._lost_rows.get(name, -KNOWN_TO_ALL_SECONDS) + KNOWN_TO_ALL_SECONDS

    def _says(self, name: str, key: VersionKey, number: int) -> bool:
        registration = self._etcd.present.get(name)
        if registration is None:
            return False
        first, end = self._agreed.blocks_of(key, number)
        return any(start <= first and end <= stop for start, stop in registration.held.get(key, ()))
