"""How few bytes can move: counted from the map alone, by other means than the product's."""

import math
from collections.abc import Collection, Mapping

from engram_store.shard_map import Node, Shard, ShardMap, VersionKey

_HALVINGS = 80


def least_moved(
    before: ShardMap, nodes: Collection[Node], leaving: Collection[str], shard_bytes: Mapping[VersionKey, list[int]]
) -> float | None:
    """Return the bytes that have to move so that `nodes`, but for those that are `leaving` (ids), hold some versions.

    `shard_bytes` are the sizes of the shards of those versions.

    The larger of what somebody has to give and what somebody has to take, until each node is as near to its share as
    the largest shard. Shares go by capacity, and no zone has more than one of each shard. None where there are fewer
    zones than replicas or too little memory: what is best then is not so simple.
    """
    stay = {node.id: node for node in nodes if node.id not in leaving}
    copies = min(before.replicas, len(stay))
    zones = {name: node.labels.get("zone") or f"alone {name}" for name, node in stay.items()}
    sizes = [size for each in shard_bytes.values() for size in each]
    shares = _shares(_capacities(stay, nodes), zones, sum(sizes), copies) if copies and sizes else None
    if shares is None:
        return None
    load, largest, gone = dict.fromkeys(stay, 0), max(sizes), 0
    for key, sizes_of_version in shard_bytes.items():
        for shard, size in zip(before.versions[key].shards, sizes_of_version, strict=True):
            targets = [name for name in _targets(before, shard) if name in stay][:copies]
            for name in targets:
                load[name] += size
            gone += (copies - len({zones[name] for name in targets})) * size
    smallest = min(sizes)
    given = sum(_whole(load[name] - shares[name] - largest, smallest) for name in stay)
    taken = sum(_whole(shares[name] - largest - load[name], smallest) for name in stay)
    return max(gone + given, taken)


def _targets(shard_map: ShardMap, shard: Shard) -> list[str]:
    """Return who is to hold a shard: who joins it, and as many holders as are left over."""
    return [shard_map.nodes[place].id for place in (*shard.joining, *shard.holders)][: shard_map.replicas]


def _capacities(stay: Mapping[str, Node], nodes: Collection[Node]) -> dict[str, float]:
    """Return what each node can hold; one that does not say so can hold as much as the others on average."""
    stated = [node.capacity_bytes for node in nodes if node.capacity_bytes]
    usual = sum(stated) // len(stated) if stated else math.inf
    return {name: node.capacity_bytes or usual for name, node in stay.items()}


def _shares(
    capacities: Mapping[str, float], zones: Mapping[str, str], one_copy: int, copies: int
) -> dict[str, float] | None:
    weights = {name: 1.0 if math.isinf(size) else size for name, size in capacities.items()}
    rooms = {name: float(min(size, one_copy)) for name, size in capacities.items()}
    members: dict[str, list[str]] = {}
    for name, zone in zones.items():
        members.setdefault(zone, []).append(name)
    of_zones = _filled(
        one_copy * copies,
        {zone: sum(weights[name] for name in names) for zone, names in members.items()},
        {zone: min(float(one_copy), sum(rooms[name] for name in names)) for zone, names in members.items()},
    )
    if of_zones is None:
        return None
    shares: dict[str, float] = {}
    for zone, names in members.items():
        within = _filled(of_zones[zone], {name: weights[name] for name in names}, {name: rooms[name] for name in names})
        shares.update(within or {})
    return shares


def _filled(amount: float, weights: Mapping[str, float], limits: Mapping[str, float]) -> dict[str, float] | None:
    """Pour an amount into vessels as wide as their weights until they are level; None if it does not fit."""
    if sum(limits.values()) < amount * (1 - 1e-12):
        return None
    low, high = 0.0, max(limits[name] / weights[name] for name in weights)
    for _ in range(_HALVINGS):
        level = (low + high) / 2
        if sum(min(level * weights[name], limits[name]) for name in weights) < amount:
            low = level
        else:
            high = level
    return {name: min(high * weights[name], limits[name]) for name in weights}


def _whole(size: float, shard: int) -> int:
    """Return a size in whole shards; what is as little as an error of rounding is none."""
    return max(0, math.ceil(size / shard - 1e-6)) * shard
