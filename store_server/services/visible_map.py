"""What of a shard map a caller is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engram_store.v1 import cluster_service_pb2 as pb
from store_server.access.caller import Scope

if TYPE_CHECKING:
    from store_server.access.caller import Caller


def visible_to(caller: Caller, shard_map: pb.ShardMap) -> pb.ShardMap:
    """Return the map with the tables that a caller may read; with all of them for one that replicates."""
    if caller.may_anywhere(Scope.REPLICATE):
        return shard_map
    hidden = {table for table in _tables(shard_map) if not caller.may(Scope.READ, table)}
    if not hidden:
        return shard_map
    visible = pb.ShardMap()
    visible.CopyFrom(shard_map)
    del visible.versions[:], visible.sets[:]
    visible.versions.extend(version for version in shard_map.versions if version.table not in hidden)
    for table_set in shard_map.sets:
        if _tables_of_set(table_set) - hidden:
            _hide(hidden, visible.sets.add(), table_set)
    return visible


def _hide(hidden: set[str], visible: pb.TableSet, table_set: pb.TableSet) -> None:
    visible.CopyFrom(table_set)
    for versions in (visible.current, visible.previous, visible.pending):
        for table in hidden & versions.keys():
            del versions[table]


def _tables(shard_map: pb.ShardMap) -> set[str]:
    of_versions = {version.table for version in shard_map.versions}
    return of_versions.union(*(_tables_of_set(table_set) for table_set in shard_map.sets))


def _tables_of_set(table_set: pb.TableSet) -> set[str]:
    return {*table_set.current, *table_set.previous, *table_set.pending}
