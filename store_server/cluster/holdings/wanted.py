"""What one node is to hold by a shard map, and who else has it: a pure function of the map."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from engram_store.shard_map import Shard, ShardedVersion, ShardMap, VersionKey
from store_server.cluster.next_map.set_switch import importance


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedShard:
    """A shard that a node is to hold: blocks from `first` to `end`."""

    key: VersionKey
    number: int
    first: int
    end: int
    sources: tuple[str, ...]
    """URLs of block sources, the first to be asked first: the other holders, then where the version was published."""


def wanted_shards(shard_map: ShardMap, node_id: str, *, scheme: str = "grpc") -> list[WantedShard]:
    """Return what the node is to hold, shards of current versions first and those of retired ones last.

    URLs of nodes begin with `scheme`. Nothing if the map does not know the node.
    """
    place = next((place for place, node in enumerate(shard_map.nodes) if node.id == node_id), None)
    if place is None:
        return []
    rank = importance(shard_map.sets.values(), shard_map.versions)
    keys = sorted(rank, key=lambda key: (rank[key], key))
    return [shard for key in keys for shard in _wanted_of(shard_map, shard_map.versions[key], place, scheme)]


def _wanted_of(shard_map: ShardMap, version: ShardedVersion, place: int, scheme: str) -> list[WantedShard]:
    wanted, first = [], 0
    for number, shard in enumerate(version.shards):
        end = -(-shard.end_row // version.block_rows)
        if place in shard.holders or place in shard.joining:
            holders = _other_holders(shard_map, number, shard, place)
            nodes = [f"{scheme}://{address}" for address in holders]
            sources = (*nodes, version.source) if version.source else tuple(nodes)
            wanted.append(WantedShard(key=version.key, number=number, first=first, end=end, sources=sources))
        first = end
    return wanted


def _other_holders(shard_map: ShardMap, number: int, shard: Shard, place: int) -> list[str]:
    """Nodes that join at the same time begin with different holders, and with another one for each shard."""
    others = [shard_map.nodes[holder].address for holder in shard.holders if holder != place]
    if others:
        begin = zlib.crc32(f"{shard_map.nodes[place].id}/{number}".encode()) % len(others)
        others = others[begin:] + others[:begin]
    return others
