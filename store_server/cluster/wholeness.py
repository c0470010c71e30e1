"""How whole a cluster is, as one of its nodes sees it: who is alive, who was lost, which rows lack a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from engram_store.shard_map import ShardedVersion, ShardMap
    from store_server.cluster.known_map import KnownMap


class Wholeness:
    """Is told of each map by the event loop; any thread may ask it.

    `alive` returns the ids of the nodes that are registered now, None if that cannot be seen.
    """

    def __init__(self, known: KnownMap, alive: Callable[[], Collection[str] | None]) -> None:
        self.num_lost = 0
        """How many nodes left the map that nobody had told to leave."""
        self._known = known
        self._alive = alive
        self._before: ShardMap | None = None

    def heard(self, found: ShardMap | None) -> None:
        """Take note of the map that the source has now."""
        if found is None or (self._before is not None and found.epoch <= self._before.epoch):
            return
        if self._before is not None:
            self.num_lost += num_lost(self._before, found)
        self._before = found

    def nodes(self) -> dict[str, int]:
        """Return how many nodes are `in_map`, and how many of these are `alive` if that can be seen."""
        shard_map, alive = self._known.newest, self._alive()
        if shard_map is None:
            return {}
        counts = {"in_map": len(shard_map.nodes)}
        if alive is not None:
            counts["alive"] = sum(node.id in alive for node in shard_map.nodes)
        return counts

    def short_rows(self) -> Mapping[str, int]:
        """Return `short_rows` of the cluster as it is now, nothing if that cannot be seen."""
        shard_map, alive = self._known.newest, self._alive()
        return {} if shard_map is None or alive is None else short_rows(shard_map, alive)


def num_lost(before: ShardMap, after: ShardMap) -> int:
    """Return how many nodes are in the first map alone, and were not leaving in it."""
    stayed = {node.id for node in after.nodes}
    return sum(node.id not in stayed and not node.draining for node in before.nodes)


def short_rows(shard_map: ShardMap, alive: Collection[str]) -> dict[str, int]:
    """Return by table how many rows of its current version have fewer living holders than the map wants copies."""
    is_alive = [node.id in alive for node in shard_map.nodes]
    return {
        version.table: _short_rows_of(version, is_alive, shard_map.replicas) for version in shard_map.current_versions()
    }


def _short_rows_of(version: ShardedVersion, is_alive: Sequence[bool], replicas: int) -> int:
    short, first_row = 0, 0
    for shard in version.shards:
        if sum(is_alive[node] for node in shard.holders) < replicas:
            short += shard.end_row - first_row
        first_row = shard.end_row
    return short
