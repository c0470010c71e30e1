"""A cluster in time, without a wire: nodes that come, die, drain and fetch, and the steps of the map between them."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from engram_store.shard_map import Node, ShardMap, VersionKey
from store_server.cluster.next_map.lost_nodes import LossSettings
from store_server.cluster.next_map.map_steps import next_map
from store_server.cluster.next_map.set_switch import importance, switched
from store_server.cluster.registration import NodeRegistration

SETTINGS = LossSettings(lost_after_seconds=30, all_lost_after_seconds=600)


def registration(
    node: Node, shards: dict[VersionKey, set[int]], incarnation: str = "1", read: Iterable[VersionKey] = ()
) -> NodeRegistration:
    """What a node says that holds these shards, each of which is one block."""
    held = {key: tuple((shard, shard + 1) for shard in sorted(numbers)) for key, numbers in shards.items()}
    return NodeRegistration(node=node, incarnation=incarnation, held=held, read=frozenset(read))


@dataclass
class LivingNodes:
    """Every node fetches what the map names it for, if it may, and drops the rest."""

    shard_map: ShardMap = field(init=False)
    disks: dict[str, dict[VersionKey, set[int]]] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    away: dict[str, float] = field(default_factory=dict)
    retired: dict[VersionKey, float] = field(default_factory=dict)

    def join(self, node: Node) -> None:
        self.nodes[node.id] = node
        self.disks.setdefault(node.id, {})
        self.away.pop(node.id, None)

    def die(self, name: str) -> None:
        self.away[name] = 0.0

    def come_back(self, name: str) -> None:
        self.away.pop(name, None)

    def drain(self, name: str) -> None:
        """Let somebody write into the map that a node is to leave."""
        nodes = tuple(replace(node, draining=node.draining or node.id == name) for node in self.shard_map.nodes)
        self.shard_map = replace(self.shard_map, epoch=self.shard_map.epoch + 1, nodes=nodes)

    def wait(self, seconds: float) -> None:
        self.away = {name: waited + seconds for name, waited in self.away.items()}
        named = importance(self.shard_map.sets.values())
        retired = [key for key in self.shard_map.versions if key not in named]
        self.retired = {key: self.retired.get(key, 0.0) + seconds for key in retired}

    @property
    def live(self) -> list[str]:
        return sorted(self.nodes.keys() - self.away.keys())

    def registrations(self) -> list[NodeRegistration]:
        return [registration(self.nodes[name], self.disks[name]) for name in self.live]

    def step(self) -> bool:
        """Take one step of the map, if there is one; tells whether there was."""
        seen, retired = self.registrations(), self.retired
        following, _ = next_map(self.shard_map, seen, self.away, SETTINGS, retired_seconds=retired)
        backwards, _ = next_map(self.shard_map, reversed(seen), self.away, SETTINGS, retired_seconds=retired)
        assert backwards == following, "two who propose must propose the same"
        if following is None:
            return False
        assert following.epoch == self.shard_map.epoch + 1
        self.shard_map = following
        assert self.all_current_are_held(), "a current shard has no holder that has it"
        self.switch()
        return True

    def switch(self) -> None:
        """Make current what is pending and complete, as those who publish it do."""
        for name, each in self.shard_map.sets.items():
            self.shard_map = switched(self.shard_map, name, each.pending, each.publisher) or self.shard_map
        assert self.all_current_are_held(), "a version becomes current without a holder that has all its shards"

    def fetch(self, name: str) -> None:
        """Let a node hold exactly what the map names it for."""
        self.disks[name] = self.named()[name]

    def fetch_all(self) -> None:
        """Let each node that lives hold exactly what the map names it for."""
        named = self.named()
        self.disks.update((name, named[name]) for name in self.live)

    def named(self) -> dict[str, dict[VersionKey, set[int]]]:
        """What the map names each node for; nothing for one that is not in it."""
        names = {*self.nodes, *(node.id for node in self.shard_map.nodes)}
        named = {name: {key: set() for key in self.shard_map.versions} for name in names}
        by_place = [named[node.id] for node in self.shard_map.nodes]
        for key, version in self.shard_map.versions.items():
            for number, shard in enumerate(version.shards):
                for place in (*shard.holders, *shard.joining):
                    by_place[place][key].add(number)
        return named

    def really_hold(self, key: VersionKey, number: int) -> list[str]:
        """The holders by the map that have the shard, alive or not."""
        names = [self.shard_map.nodes[place].id for place in self.shard_map.versions[key].shards[number].holders]
        return [name for name in names if number in self.disks[name].get(key, ())]

    def all_current_are_held(self) -> bool:
        return all(
            self.really_hold(version.key, number)
            for version in self.shard_map.current_versions()
            for number in range(len(version.shards))
        )

    def lose(self, name: str, key: VersionKey, number: int) -> None:
        """Let a node no longer hold a shard, as if its block were bad."""
        self.disks[name].get(key, set()).discard(number)

    def settle(self, most_rounds: int) -> int:
        """Fetch and step until nothing changes; returns the rounds that it took."""
        for round_ in range(most_rounds):
            self.fetch_all()
            if not self.step():
                return round_
        raise AssertionError(f"still changing after {most_rounds} rounds")
