"""What becomes of the shard map when tables are taken out of it: pure functions of the map."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from engram_store.shard_map import ShardMap, TableSet, VersionKey
from store_server.cluster.next_map.pending_versions import without_pending, without_unread
from store_server.cluster.next_map.publishing import CannotPublish
from store_server.cluster.next_map.set_switch import importance
from store_server.cluster.placement.assignment import shard_sizes


def without_tables(known: ShardMap, set_name: str, tables: Collection[str]) -> ShardMap:
    """Return the next map, in which a set has some of its tables no more; all of them if none are given.

    A set of which nothing is current or pending goes too. Versions that no set names stay for their readers, as always.
    Raises CannotPublish for a set or a table that is not there.
    """
    each = set_called(known, set_name)
    gone = set(tables) or _tables_of(each)
    if unknown := sorted(gone - _tables_of(each)):
        raise CannotPublish(
            f"set {set_name!r} has no table {unknown[0]!r}, it has {', '.join(sorted(_tables_of(each)))}"
        )
    following = replace(
        each,
        current=_without(each.current, gone),
        previous=_without(each.previous, gone),
        pending=_without(each.pending, gone),
    )
    if not following.pending:
        following = without_pending(following)
    sets = {**known.sets, set_name: following}
    if not following.current and not following.pending:
        del sets[set_name]
    versions = without_unread(each.pending, known.versions, sets)
    return replace(known, epoch=known.epoch + 1, versions=versions, sets=sets)


def set_called(known: ShardMap, set_name: str) -> TableSet:
    """Return a set; raises CannotPublish if it is not there."""
    each = known.sets.get(set_name)
    if each is None:
        raise CannotPublish(f"the cluster has no set {set_name!r}, it has {', '.join(sorted(known.sets)) or 'none'}")
    return each


def no_more_named(before: ShardMap, after: ShardMap) -> dict[VersionKey, int]:
    """Return the versions that sets name in one map and in another no more, and the bytes that nodes hold of each."""
    gone = importance(before.sets.values()).keys() - importance(after.sets.values()).keys()
    return {key: _bytes_on_nodes(before, key) for key in sorted(gone)}


def _bytes_on_nodes(known: ShardMap, key: VersionKey) -> int:
    version = known.versions[key]
    return sum(len(shard.holders) * size for shard, size in zip(version.shards, shard_sizes(version), strict=True))


def _tables_of(each: TableSet) -> set[str]:
    return {*each.current, *each.previous, *each.pending}


def _without(versions: Mapping[str, str], tables: Collection[str]) -> dict[str, str]:
    return {table: version for table, version in versions.items() if table not in tables}
