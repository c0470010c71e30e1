"""How a version is cut into shards. That is done once: shards move between nodes and are never cut anew."""

from __future__ import annotations

from typing import Final

from engram_store.shard_map import Shard, ShardedVersion

_SHARDS_A_NODE: Final = 8
# Of the current versions of all tables. As many again may be pending and as many previous, and a shard that three nodes
# hold and a fourth joins is 24 bytes of the map at the most: with a thousand nodes that is below MAX_MAP_BYTES.
_MOST_SHARDS: Final = 12_000


def shards_for(num_rows: int, block_rows: int, num_nodes: int, *, num_tables: int) -> tuple[Shard, ...]:
    """Return the shards of a new version, which nobody holds yet: equal ranges of whole blocks, the last one shorter.

    There are about eight for each of `num_nodes` nodes, fewer where the table has fewer blocks or the cluster so many
    tables (`num_tables`, this one included) that the map would grow too large. Tables of one shape are cut alike.
    """
    for name, value in (("num_rows", num_rows), ("block_rows", block_rows), ("num_tables", num_tables)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    num_blocks = -(-num_rows // block_rows)
    most = max(1, min(_SHARDS_A_NODE * num_nodes, _MOST_SHARDS // num_tables))
    shard_rows = -(-num_blocks // most) * block_rows
    return tuple(
        Shard(end_row=min(start + shard_rows, num_rows), holders=()) for start in range(0, num_rows, shard_rows)
    )


def shards_after(
    before: ShardedVersion | None, num_rows: int, block_rows: int, num_nodes: int, *, num_tables: int
) -> tuple[Shard, ...]:
    """Return the shards of the version that comes after `before`, None for the first one; see `shards_for`.

    If that one has as many rows, this one is cut like it, so that the same nodes can hold the same rows of both. Cut
    anew is what has less than half or more than twice as many shards as a new table gets, or too many for the map.
    """
    shards = shards_for(num_rows, block_rows, num_nodes, num_tables=num_tables)
    if before is None or (before.num_rows, before.block_rows) != (num_rows, block_rows):
        return shards
    most = min(2 * len(shards), max(1, _MOST_SHARDS // num_tables))
    if not len(shards) <= 2 * len(before.shards) <= 2 * most:
        return shards
    return tuple(Shard(end_row=shard.end_row, holders=()) for shard in before.shards)


def is_cut_like(one: ShardedVersion, other: ShardedVersion) -> bool:
    """Tell whether the shards of two versions are the same ranges of the same blocks."""
    return one.block_rows == other.block_rows and [shard.end_row for shard in one.shards] == [
        shard.end_row for shard in other.shards
    ]
