"""Bugs of the placement, planted in the steps that nodes take, to see that the simulation finds such."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from simulation.stepping import SteppingOnce

from engram_store.shard_map import ShardedVersion, ShardMap, TableSet, VersionKey
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.next_map.map_steps import MapStep
from store_server.cluster.next_map.waiting import Waiting
from store_server.cluster.registration import NodeRegistration


class LeavingEarly(SteppingOnce):
    """Somebody leaves a shard as soon as another joins it, and not when that one has it."""

    def step(self, base: ShardMap | None, present: Mapping[str, NodeRegistration]) -> MapStep:
        found = super().step(base, present)
        if found.shard_map is None:
            return found
        versions = {key: _left_early(version) for key, version in found.shard_map.versions.items()}
        return found._replace(shard_map=replace(found.shard_map, versions=versions))


class WithoutGrace(SteppingOnce):
    """Nodes that went away together are waited for no longer than one alone."""

    def __init__(self, config: ClusterConfig, *args: Any, **options: Any) -> None:
        super().__init__(replace(config, all_lost_after_seconds=config.lost_after_seconds), *args, **options)


class CountingBlindly(SteppingOnce):
    """While nobody can be seen, everybody is taken to be away."""

    def __init__(self, config: ClusterConfig, *args: Any, **options: Any) -> None:
        super().__init__(config, *args, **options)
        self._waiting = _Blind(config)


class CompletingEarly(SteppingOnce):
    """A set's pending versions are complete when one node holds each shard, and not all that are to."""

    def step(self, base: ShardMap | None, present: Mapping[str, NodeRegistration]) -> MapStep:
        return _with_sets(super().step(base, present), _complete_early)


class SwitchingAlone(SteppingOnce):
    """Nodes make current what is complete, whether or not its publisher lives."""

    def step(self, base: ShardMap | None, present: Mapping[str, NodeRegistration]) -> MapStep:
        return _with_sets(super().step(base, present), _switched_alone)


class FillingFullDisks(SteppingOnce):
    """What a node says of its disk goes unheard: it is given what there is room for by the bytes that it promises."""

    def step(self, base: ShardMap | None, present: Mapping[str, NodeRegistration]) -> MapStep:
        return super().step(base, {name: replace(each, disk_failure="") for name, each in present.items()})


class _Blind(Waiting):
    def look(
        self,
        known: ShardMap | None,
        present: Mapping[str, NodeRegistration] | None,
        publishers: Collection[str] | None,
        now: float,
    ) -> None:
        super().look(known, {} if present is None else present, publishers, now)


def _left_early(version: ShardedVersion) -> ShardedVersion:
    shards = [
        replace(shard, holders=shard.holders[:-1]) if shard.joining and len(shard.holders) > 1 else shard
        for shard in version.shards
    ]
    return replace(version, shards=tuple(shards))


def _with_sets(found: MapStep, change: Callable[[TableSet, ShardMap], TableSet]) -> MapStep:
    if found.shard_map is None:
        return found
    sets = {name: change(each, found.shard_map) for name, each in found.shard_map.sets.items()}
    return found._replace(shard_map=replace(found.shard_map, sets=sets))


def _complete_early(each: TableSet, shard_map: ShardMap) -> TableSet:
    shards = [shard for item in each.pending.items() for shard in shard_map.versions[VersionKey(*item)].shards]
    return replace(each, pending_complete=bool(shards) and all(shard.holders for shard in shards))


def _switched_alone(each: TableSet, _: ShardMap) -> TableSet:
    if not each.pending_complete:
        return each
    return TableSet(name=each.name, current={**each.current, **each.pending}, previous=dict(each.current))
