"""Versions that no set names any more: the map keeps them for their readers, and for how long."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from engram_store.shard_map import ShardMap, VersionKey
from store_server.cluster.next_map.set_switch import importance
from store_server.cluster.registration import NodeRegistration


@dataclass(frozen=True, slots=True, kw_only=True)
class RetirementSettings:
    """How long a retired version stays. Seconds."""

    after_seconds: float = 60.0
    """A version that is neither current, previous nor pending leaves after as long, once nobody reads it."""
    at_latest_seconds: float = 3600.0
    """The same where it is read all the time."""

    def __post_init__(self) -> None:
        if not 0 < self.after_seconds <= self.at_latest_seconds:
            raise ValueError(
                "retire_after_seconds must be above 0 and at most retire_at_latest_seconds, got "
                f"{self.after_seconds:g} and {self.at_latest_seconds:g}"
            )


def retired_versions(known: ShardMap, retired_seconds: Mapping[VersionKey, float]) -> list[VersionKey]:
    """Return the versions that no set names, the longest retired first. For `retired_seconds` see `overdue`."""
    named = importance(known.sets.values())
    retired = [key for key in known.versions if key not in named]
    return sorted(retired, key=lambda key: (-retired_seconds.get(key, 0.0), key))


def overdue(
    known: ShardMap,
    live: Mapping[str, NodeRegistration],
    lost: Collection[str],
    retired_seconds: Mapping[VersionKey, float],
    settings: RetirementSettings,
) -> frozenset[VersionKey]:
    """Return the retired versions that are to leave the map.

    `live` are the registered nodes by id. Of one that is away and not `lost` (ids) it is not known what is read there:
    all that it holds counts as read. `retired_seconds` tells for how long the caller has seen that no set names a
    version, by its own clock.
    """
    retired = retired_versions(known, retired_seconds)
    if not retired:
        return frozenset()  # as nearly always: each node looks every second
    read = {key for each in live.values() for key in each.read}
    away = {place for place, node in enumerate(known.nodes) if node.id not in live and node.id not in lost}
    read.update(
        key for key in retired if any(not away.isdisjoint(shard.holders) for shard in known.versions[key].shards)
    )
    return frozenset(
        key
        for key in retired
        if retired_seconds.get(key, 0.0) >= (settings.at_latest_seconds if key in read else settings.after_seconds)
    )
