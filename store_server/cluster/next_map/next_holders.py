"""Who holds and who joins the shards of one version next, given who is to hold them and who really does."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence

from engram_store.shard_map import Shard, ShardedVersion
from store_server.cluster.registration import BlockRanges


def held_shards(version: ShardedVersion, held: Mapping[int, BlockRanges]) -> dict[int, set[int]]:
    """Return the numbers of the shards of which each node holds all blocks."""
    ends = [-(-shard.end_row // version.block_rows) for shard in version.shards]
    starts = [0, *ends[:-1]]
    return {
        node: {shard for first, end in ranges for shard in range(bisect_left(starts, first), bisect_right(ends, end))}
        for node, ranges in held.items()
    }


def next_shards(
    version: ShardedVersion,
    targets: Sequence[tuple[int, ...]],
    says: Mapping[int, Collection[int]],
    *,
    enough: int,
    is_current: bool,
) -> tuple[Shard, ...]:
    """Return the shards with the holders and joining nodes that follow.

    `targets` are the nodes that are to hold each shard; `says` is what live nodes hold by their own word, and of other
    nodes the map is believed. A target that has a shard is a holder, and joins it otherwise, also if it was a holder. A
    holder that is no target stays until `enough` targets say that they hold the shard: one that is away may have lost
    it, and gives nothing to anybody meanwhile. Holders that are targets come first.

    A shard of a current version keeps its last holder even if that one denies it, since a map must name one: that node
    is to fetch it like those that join.
    """
    return tuple(
        _next_shard(
            shard,
            chosen,
            _has(number, shard, chosen, says),
            is_safe=sum(number in says.get(node, ()) for node in chosen) >= enough,
            is_current=is_current,
        )
        for number, (shard, chosen) in enumerate(zip(version.shards, targets, strict=True))
    )


def _has(number: int, shard: Shard, chosen: tuple[int, ...], says: Mapping[int, Collection[int]]) -> set[int]:
    """Return those of the nodes in question that have a shard."""
    return {
        node for node in (*shard.holders, *chosen) if (number in says[node] if node in says else node in shard.holders)
    }


def _next_shard(shard: Shard, chosen: tuple[int, ...], has: set[int], *, is_safe: bool, is_current: bool) -> Shard:
    before = [node for node in shard.holders if node in has]
    staying = [node for node in before if node in chosen]
    arrived = sorted(node for node in chosen if node in has and node not in before)
    leaving = [node for node in before if node not in chosen]
    holders = [*staying, *arrived, *(() if is_safe else leaving)]
    if not holders and is_current:
        holders = [*shard.holders[:1]]
    joining = sorted(node for node in chosen if node not in holders)
    return Shard(end_row=shard.end_row, holders=tuple(holders), joining=tuple(joining))
