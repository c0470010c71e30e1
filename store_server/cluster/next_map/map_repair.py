"""What a node puts back into a source that has lost maps: it was emptied, or brought back from an old copy."""

from __future__ import annotations

from dataclasses import replace

from engram_store.shard_map import ShardMap


def repair(found: ShardMap | None, known: ShardMap | None) -> ShardMap | None:
    """Return what is to replace the map that was found, None if it may stay. Both are of one cluster.

    Clients and nodes take only newer maps, so the newest that anybody knows has to come back. Where another map of its
    epoch was agreed upon since, that one counts, unless a cluster has begun anew in it; it gets an epoch that all take.
    """
    if known is None or found == known:
        return None
    if found is None or found.epoch < known.epoch:
        return known
    if found.epoch > known.epoch:
        return None
    has_begun_anew = bool(known.versions) and not found.versions
    return replace(known if has_begun_anew else found, epoch=known.epoch + 1)
