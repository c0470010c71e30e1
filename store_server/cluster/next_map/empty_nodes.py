"""Nodes leave the shard map when nobody needs them there any more."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from engram_store.shard_map import Node, ShardedVersion, VersionKey


def without_empty(
    nodes: Sequence[Node], gone: Collection[str], versions: Mapping[VersionKey, ShardedVersion], replicas: int
) -> tuple[tuple[Node, ...], dict[VersionKey, ShardedVersion]]:
    """Leave out nodes that are `gone` and hold and join nothing; shards then name the others by their new places.

    As many nodes as `replicas` stay in any case: a map needs them.
    """
    named = {
        node for version in versions.values() for shard in version.shards for node in (*shard.holders, *shard.joining)
    }
    empty = [place for place, node in enumerate(nodes) if node.id in gone and place not in named]
    left_out = set(sorted(empty, key=lambda place: nodes[place].id)[: len(nodes) - replicas])
    if not left_out:
        return tuple(nodes), dict(versions)
    stay = [place for place in range(len(nodes)) if place not in left_out]
    new_place = {place: number for number, place in enumerate(stay)}
    moved = {
        key: replace(
            version,
            shards=tuple(
                replace(
                    shard,
                    holders=tuple(new_place[node] for node in shard.holders),
                    joining=tuple(new_place[node] for node in shard.joining),
                )
                for shard in version.shards
            ),
        )
        for key, version in versions.items()
    }
    return tuple(nodes[place] for place in stay), moved
