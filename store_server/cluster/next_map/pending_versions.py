"""Versions that a publisher wants to make current: how far they are, and what is left when they are given up."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from engram_store.shard_map import ShardedVersion, ShardMap, TableSet, VersionKey
from store_server.cluster.next_map.set_switch import importance
from store_server.cluster.placement.assignment import shard_sizes


def without_pending_of(known: ShardMap, publishers: Collection[str]) -> ShardMap:
    """Return a map of the same epoch in which nothing is pending of some publishers; `known` itself if nothing was.

    A set of which nothing is current goes with it.
    """
    given_up = [each for each in known.sets.values() if each.pending and each.publisher in publishers]
    if not given_up:
        return known
    sets = {**known.sets, **{each.name: without_pending(each) for each in given_up}}
    sets = {name: each for name, each in sets.items() if each.current or each.pending}
    versions = known.versions
    for each in given_up:
        versions = without_unread(each.pending, versions, sets)
    return replace(known, versions=versions, sets=sets)


def without_pending(each: TableSet) -> TableSet:
    """Return a set in which nothing is pending."""
    return replace(each, pending={}, pending_complete=False, publisher="")


def without_unread(
    pending: Mapping[str, str], versions: Mapping[VersionKey, ShardedVersion], sets: Mapping[str, TableSet]
) -> dict[VersionKey, ShardedVersion]:
    """Return the versions without those that were pending, that no set names now and that nobody can have read."""
    named = importance(sets.values())
    was_pending = {VersionKey(*item) for item in pending.items()} - named.keys()
    unread = {key for key in was_pending if any(not shard.holders for shard in versions[key].shards)}
    return {key: version for key, version in versions.items() if key not in unread}


def is_current(known: ShardMap, set_name: str, versions: Mapping[str, str]) -> bool:
    """Tell whether all these versions, by table, are current in a set."""
    each = known.sets.get(set_name)
    return each is not None and versions.items() <= each.current.items()


def is_pending(known: ShardMap, set_name: str, versions: Mapping[str, str]) -> bool:
    """Tell whether exactly these versions, by table, are about to become current."""
    each = known.sets.get(set_name)
    return each is not None and dict(each.pending) == dict(versions)


def bytes_held(known: ShardMap, versions: Mapping[str, str]) -> tuple[int, int]:
    """Return how many bytes nodes hold of these versions, by table, and how many they are to hold."""
    held = wanted = 0
    for item in versions.items():
        version = known.versions.get(VersionKey(*item))
        for shard, size in zip(version.shards, shard_sizes(version), strict=True) if version is not None else ():
            held += min(len(shard.holders), known.replicas) * size
            wanted += known.replicas * size
    return held, wanted
