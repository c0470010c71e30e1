"""What becomes of the shard map when the previous versions of a set are taken back, or forgotten: pure functions."""

from __future__ import annotations

from dataclasses import replace

from engram_store.shard_map import ShardMap, TableSet, VersionKey
from store_server.cluster.next_map.publishing import CannotPublish
from store_server.cluster.next_map.removed_tables import set_called


def rolled_back(known: ShardMap, set_name: str) -> ShardMap:
    """Return the next map, in which the previous versions of a set are current, and the current ones previous.

    Raises CannotPublish if there are none, or nobody holds a part of them.
    """
    each = _with_previous(known, set_name)
    for table, version in each.previous.items():
        shards = known.versions[VersionKey(table, version)].shards
        lacking = [number for number, shard in enumerate(shards) if not shard.holders]
        if lacking:
            raise CannotPublish(
                f"nobody holds {len(lacking)} of {len(shards)} shards of version {version} of table {table!r}, the "
                f"first is shard {lacking[0]}: publish that version again"
            )
    return _with(known, replace(each, current={**each.current, **each.previous}, previous=dict(each.current)))


def forgotten(known: ShardMap, set_name: str) -> ShardMap:
    """Return the next map, in which a set has no previous versions: they are retired. Raises CannotPublish."""
    return _with(known, replace(_with_previous(known, set_name), previous={}))


def _with_previous(known: ShardMap, set_name: str) -> TableSet:
    each = set_called(known, set_name)
    if not each.previous:
        raise CannotPublish(f"set {set_name!r} has no previous versions")
    return each


def _with(known: ShardMap, each: TableSet) -> ShardMap:
    return replace(known, epoch=known.epoch + 1, sets={**known.sets, each.name: each})
