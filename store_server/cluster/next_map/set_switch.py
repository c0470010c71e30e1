"""Which versions are current: those of a set change together, or none of them does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from engram_store.shard_map import ShardedVersion, TableSet, VersionKey


def importance(sets: Iterable[TableSet], versions: Iterable[VersionKey] = ()) -> dict[VersionKey, int]:
    """Return the versions that any set names: 0 for current ones, 1 for previous, 2 for pending ones.

    The others of `versions` are retired: 3.
    """
    rank = dict.fromkeys(versions, 3)
    for each in sets:
        for number, named in enumerate((each.current, each.previous, each.pending)):
            for item in named.items():
                key = VersionKey(*item)
                rank[key] = min(number, rank.get(key, number))
    return rank


def switched(each: TableSet, versions: Mapping[VersionKey, ShardedVersion], enough: int) -> TableSet:
    """Return the set with its pending versions current, if `enough` nodes hold every shard of every one of them.

    What was current is previous then, and tables that the pending versions do not speak of stay as they are.
    """
    pending = [versions[VersionKey(*item)] for item in each.pending.items()]
    shards = [shard for version in pending for shard in version.shards]
    if not pending or any(len(shard.holders) < enough for shard in shards):
        return each
    return replace(each, current={**each.current, **each.pending}, previous=dict(each.current), pending={})
