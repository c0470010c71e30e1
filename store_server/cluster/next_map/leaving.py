"""What becomes of the shard map when a node is to leave its cluster for good: pure functions of the map."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from store_server.cluster.next_map.set_switch import importance
from store_server.cluster.placement.assignment import assign, shard_sizes
from store_server.counted import counted, is_or_are

if TYPE_CHECKING:
    from engram_store.shard_map import ShardMap


class CannotLeave(Exception):
    """A node cannot leave its cluster, or has not done so in time; says why."""


def leaving(known: ShardMap, node_id: str, living: Collection[str]) -> ShardMap:
    """Return the next map, in which a node is to leave; `known` itself if it is so already.

    `living` are the ids of the nodes that are there. Raises CannotLeave if the others are too few, or have not the
    memory.
    """
    if is_leaving(known, node_id):
        return known
    others = sum(node.id != node_id and not node.draining and node.id in living for node in known.nodes)
    if others < known.replicas:
        raise CannotLeave(
            f"without node {node_id!r} there {is_or_are(others)} {counted(others, 'living node')}, and each row is to "
            f"be on {known.replicas}: start another one first"
        )
    following = _with(known, node_id, draining=True)
    _check_room(following, living)
    return following


def staying(known: ShardMap, node_id: str) -> ShardMap:
    """Return the next map, in which a node is not to leave; `known` itself if it is so already. Raises CannotLeave."""
    return _with(known, node_id, draining=False) if is_leaving(known, node_id) else known


def is_leaving(known: ShardMap, node_id: str) -> bool:
    """Tell whether a node is to leave. Raises CannotLeave if the map does not know it."""
    for node in known.nodes:
        if node.id == node_id:
            return node.draining
    ids = ", ".join(sorted(node.id for node in known.nodes))
    raise CannotLeave(f"cluster {known.cluster!r} has no node {node_id!r}, it has {ids}")


def needed_for(known: ShardMap, node_id: str) -> tuple[int, int]:
    """Return how many shards a node is named for, and their bytes; none if the map does not know it any more."""
    place = next((place for place, node in enumerate(known.nodes) if node.id == node_id), None)
    sizes = [
        size
        for version in known.versions.values()
        for shard, size in zip(version.shards, shard_sizes(version), strict=True)
        if place in shard.holders or place in shard.joining
    ]
    return len(sizes), sum(sizes)


def _with(known: ShardMap, node_id: str, *, draining: bool) -> ShardMap:
    nodes = tuple(replace(node, draining=draining) if node.id == node_id else node for node in known.nodes)
    return replace(known, epoch=known.epoch + 1, nodes=nodes)


def _check_room(following: ShardMap, living: Collection[str]) -> None:
    rank = importance(following.sets.values())
    versions = [following.versions[key] for key in sorted(rank, key=lambda key: (rank[key], key))]
    away = {node.id for node in following.nodes} - set(living)
    if shortage := assign(following.nodes, versions, following.replicas, lost=away).shortage:
        raise CannotLeave(f"the other nodes have not enough memory: {shortage}")
