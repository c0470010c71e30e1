"""How much room a node's disk must have for what it is still to fetch."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import numpy as np

from store_server.cluster.holdings.fetching import ShardName
from store_server.storage import StorageError
from store_server.storage.arrivals import home_of
from store_server.storage.held_blocks import blocks_of, held_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engram_store.shard_map import ShardMap, VersionKey
    from store_server.cluster.holdings.wanted import WantedShard
    from store_server.cluster.registration import Holdings
    from store_server.storage import DataRoot


def bytes_to_come(
    root: DataRoot,
    shard_map: ShardMap,
    missing: Iterable[WantedShard],
    held: Holdings,
    under_way: Collection[ShardName],
) -> int:
    """Return the bytes of rows that are to come and have no room yet. Waits for a disk.

    Not counted are blocks that are here, those that a version on its way shares included; shards that are being copied
    (`under_way`), whose room is taken already; and a version that is not begun: how much of it is here, only its
    manifest says, and a copy that then finds no room says so.
    """
    num_bytes = 0
    are_here: dict[VersionKey, NDArray[np.bool_] | None] = {}
    for shard in missing:
        version = shard_map.versions[shard.key]
        if shard.key not in are_here:
            are_here[shard.key] = _here(root, shard.key, -(-version.num_rows // version.block_rows), held)
        here = are_here[shard.key]
        if ShardName(shard.key, shard.number) in under_way or here is None:
            continue
        lacking = np.flatnonzero(~here[shard.first : shard.end]) + shard.first
        rows = np.minimum((lacking + 1) * version.block_rows, version.num_rows) - lacking * version.block_rows
        num_bytes += int(rows.sum()) * version.row_bytes
    return num_bytes


def _here(root: DataRoot, key: VersionKey, num_blocks: int, held: Holdings) -> NDArray[np.bool_] | None:
    if key in held.blocks:
        return blocks_of(held.blocks[key], num_blocks)
    try:
        arrival = home_of(root, *key)
        if arrival is None:
            return None
        stored = arrival.stored_version(*key)
        held_already, changed = held_blocks(stored), stored.manifest.changed
    except StorageError:  # it moves just now, or is damaged: then it is copied anew
        return None
    # What does not lie beside the file of another version lies in that, though it may not have been read yet.
    return held_already if changed is None else held_already | ~changed.are_changed(num_blocks)
