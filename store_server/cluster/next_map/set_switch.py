"""Which versions are current: those of a set change together, or none of them does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from engram_store.shard_map import ShardedVersion, ShardMap, TableSet, VersionKey


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


def is_complete(each: TableSet, versions: Mapping[VersionKey, ShardedVersion], enough: int) -> bool:
    """Tell whether a set has pending versions, and `enough` nodes hold every shard of every one of them."""
    pending = [versions[VersionKey(*item)] for item in each.pending.items()]
    shards = [shard for version in pending for shard in version.shards]
    return bool(pending) and all(len(shard.holders) >= enough for shard in shards)


def switched(known: ShardMap, set_name: str, versions: Mapping[str, str], publisher: str) -> ShardMap | None:
    """Return the next map, in which what a publisher has pending in a set is current: exactly `versions`, by table.

    None while that is not pending there, or not complete. What was current is previous then, and tables that the
    pending versions do not speak of stay as they are.
    """
    each = known.sets.get(set_name)
    if each is None or each.publisher != publisher or dict(each.pending) != dict(versions) or not each.pending_complete:
        return None
    following = TableSet(name=set_name, current={**each.current, **each.pending}, previous=dict(each.current))
    return replace(known, epoch=known.epoch + 1, sets={**known.sets, set_name: following})
