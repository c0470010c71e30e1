"""The next shard map, from the known one and from what nodes say: pure steps that every node proposes alike.

Who proposes a map stores it by compare-and-swap, so it does not matter who is first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final, NamedTuple

from engram_store.shard_map import Node, Shard, ShardedVersion, ShardMap, VersionKey
from store_server.cluster.next_map.empty_nodes import without_empty
from store_server.cluster.next_map.lost_nodes import LossSettings, lost_nodes
from store_server.cluster.next_map.map_size import size_complaint
from store_server.cluster.next_map.membership import Members, next_members
from store_server.cluster.next_map.next_holders import held_shards, next_shards
from store_server.cluster.next_map.pending_versions import without_pending_of
from store_server.cluster.next_map.retirement import RetirementSettings, overdue, retired_versions
from store_server.cluster.next_map.set_switch import importance, is_complete
from store_server.cluster.placement.assignment import Assignment, assign, shard_sizes, usable_places
from store_server.cluster.placement.failure_domains import DOMAIN_LABELS
from store_server.cluster.placement.node_shares import capacities_of
from store_server.cluster.placement.shard_layout import is_cut_like
from store_server.cluster.registration import NodeRegistration

_NONE_SEEN: Final[Mapping[VersionKey, float]] = MappingProxyType({})
_AS_USUAL: Final = RetirementSettings()


class MapStep(NamedTuple):
    """What follows from what is known."""

    shard_map: ShardMap | None
    """The next map; None if the known one stays."""
    complaints: tuple[str, ...]
    """What is wrong and needs somebody: sentences."""


def first_map(cluster: str, replicas: int, registrations: Iterable[NodeRegistration]) -> MapStep:
    """Return the first map of a cluster, without tables, once as many nodes are there as are to hold each shard."""
    if replicas < 1:
        raise ValueError(f"replicas must be at least 1, got {replicas}")
    members = next_members((), registrations)
    if len(members.nodes) < replicas:
        waits = (
            f"{replicas} replicas need as many nodes, and {len(members.nodes)} are there: the cluster waits for more"
        )
        return MapStep(None, (*members.complaints, waits))
    return MapStep(ShardMap(cluster=cluster, epoch=1, replicas=replicas, nodes=members.nodes), members.complaints)


def next_map(
    known: ShardMap,
    registrations: Iterable[NodeRegistration],
    away_seconds: Mapping[str, float],
    settings: LossSettings,
    domain_labels: Sequence[str] = DOMAIN_LABELS,
    *,
    retired_seconds: Mapping[VersionKey, float] = _NONE_SEEN,
    retirement: RetirementSettings = _AS_USUAL,
    publishers_lost: Collection[str] = (),
) -> MapStep:
    """Return the map that follows, of the next epoch, or None if nothing changes.

    For `away_seconds` see `lost_nodes`, for `retired_seconds` `overdue`, for `publishers_lost` `lost_publishers`.

    - Live nodes that are not in the map join it. Lost ones, and draining ones that have stopped, leave it once they
      hold and join nothing, if enough nodes for the replicas remain.
    - Shards go to the nodes that `assign` chooses: `next_shards` says when those hold them and when others leave. A
      node whose disk takes no more rows keeps what it holds and is given nothing, whatever room it says it has.
    - A set's pending versions are complete as long as every shard of all of them has all its holders: as many as
      replicas, or as nodes neither draining nor lost. Their publisher makes them current then; if that is lost, nothing
      is pending any more.
    - Versions that no set names stay for their readers, until they are `overdue`. The longest retired leave before
      that if there is no room otherwise, for them or for all others; no more of them than make room.
    - A map of more than MAX_MAP_BYTES is not proposed.

    Nodes are believed: one that is about to drop a shard must first register without it, and drop it only when the map
    has not named it for a while. With a thousand nodes and many new shards a step takes some seconds of a processor.
    """
    before, known = known, without_pending_of(known, publishers_lost)
    members = next_members(known.nodes, registrations)
    lost = lost_nodes(members.nodes, members.live, away_seconds, settings)
    gone = overdue(known, members.live, lost, retired_seconds, retirement)
    retired = [key for key in retired_versions(known, retired_seconds) if key not in gone]

    def without(number: int) -> _Following:
        return _following(known, members, lost, {*gone, *retired[:number]}, domain_labels)

    found = without(0)
    if retired and found.lacks:
        least = without(len(retired)).missing
        found = without(bisect_left(range(len(retired)), True, key=lambda number: without(number).missing <= least))
    is_possible = found.shard_map != before and not found.is_too_large
    return MapStep(
        replace(found.shard_map, epoch=known.epoch + 1) if is_possible else None,
        (*members.complaints, *found.lacks, *found.complaints),
    )


class _Following(NamedTuple):
    """A map that may follow, still with the epoch of the known one."""

    shard_map: ShardMap
    lacks: tuple[str, ...]
    """Sentences on what there is no room for."""
    complaints: tuple[str, ...]
    is_too_large: bool
    missing: tuple[bool, int, bool]
    """Whether it is too large, the bytes that named versions have no room for, and whether any has not: to compare."""


def _following(
    known: ShardMap, members: Members, lost: Collection[str], gone: Collection[VersionKey], domain_labels: Sequence[str]
) -> _Following:
    """Return the map that follows without the versions that are `gone`."""
    stays = sum(not node.draining and node.id not in lost for node in members.nodes)
    enough = min(known.replicas, stays) if stays else known.replicas
    versions, assignment, complaints = _next_versions(known, members, lost, gone, enough, domain_labels)
    sets = {
        name: replace(each, pending_complete=is_complete(each, versions, enough)) for name, each in known.sets.items()
    }
    nodes, versions = without_empty(members.nodes, {*lost, *members.left}, versions, known.replicas)
    following = replace(known, nodes=nodes, versions=versions, sets=sets)
    too_large = size_complaint(following)
    lacks = tuple(each for each in (assignment.shortage, too_large) if each)
    missing = bool(too_large), _missing_bytes(known, members.nodes, lost, assignment, enough), bool(lacks)
    return _Following(following, lacks, tuple(complaints), bool(too_large), missing)


def _missing_bytes(
    known: ShardMap, nodes: Sequence[Node], lost: Collection[str], assignment: Assignment, enough: int
) -> int:
    """Return the bytes of the versions that sets name that have no place, and those that nodes have no room for."""
    named = importance(known.sets.values())
    load, missing, sizes = [0] * len(nodes), 0, [0]
    for key, targets in assignment.targets.items():
        for size, chosen in zip(shard_sizes(known.versions[key]), targets, strict=True):
            sizes.append(size)
            missing += size * max(0, enough - len(chosen)) if key in named else 0
            for place in chosen:
                load[place] += size
    usable = usable_places(nodes, lost)
    stated = [node.capacity_bytes for node in nodes]
    capacities = capacities_of(stated, usable, sum(sizes) * enough, max(sizes))
    return missing + sum(max(0, load[place] - most) for place, most in zip(usable, capacities, strict=True))


def _next_versions(
    known: ShardMap,
    members: Members,
    lost: Collection[str],
    gone: Collection[VersionKey],
    enough: int,
    domain_labels: Sequence[str],
) -> tuple[dict[VersionKey, ShardedVersion], Assignment, list[str]]:
    """Return the versions that are not gone, with the holders that follow, who is to hold them, and complaints."""
    rank = importance(known.sets.values(), known.versions)
    keys = sorted((key for key in known.versions if key not in gone), key=lambda key: (rank[key], key))
    versions = [known.versions[key] for key in keys]
    says = {version.key: _says(version, members) for version in versions}
    cannot_take = {id_ for id_, each in members.live.items() if each.disk_failure}
    assignment = assign(
        members.nodes,
        [_not_waiting_for(cannot_take, version, says[version.key], members.nodes) for version in versions],
        known.replicas,
        lost=lost,
        away=({node.id for node in members.nodes} - members.live.keys()) | cannot_take,
        found_at={key: _by_shard(held, _as_before(known.versions[key], known)) for key, held in says.items()},
        domain_labels=domain_labels,
    )
    following: dict[VersionKey, ShardedVersion] = {}
    complaints: list[str] = []
    for version in versions:
        key, is_current = version.key, rank[version.key] == 0
        shards = next_shards(version, assignment.targets[key], says[key], enough=enough, is_current=is_current)
        following[key] = replace(version, shards=shards)
        complaints += _denied(following[key], says[key], members.nodes)
    return following, assignment, complaints


def _says(version: ShardedVersion, members: Members) -> dict[int, set[int]]:
    """Return the shards that each live node says it holds."""
    live = {number: members.live[node.id] for number, node in enumerate(members.nodes) if node.id in members.live}
    return held_shards(version, {number: each.held.get(version.key, ()) for number, each in live.items()})


def _not_waiting_for(
    cannot_take: Collection[str], version: ShardedVersion, says: Mapping[int, Collection[int]], nodes: Sequence[Node]
) -> ShardedVersion:
    """Return a version whose shards are joined by no node whose disk takes no rows, unless it has them all already."""
    if not cannot_take:
        return version

    def may_join(place: int, number: int) -> bool:
        return nodes[place].id not in cannot_take or number in says.get(place, ())

    shards = (
        replace(shard, joining=tuple(place for place in shard.joining if may_join(place, number)))
        for number, shard in enumerate(version.shards)
    )
    return replace(version, shards=tuple(shards))


def _as_before(version: ShardedVersion, known: ShardMap) -> Sequence[Shard]:
    """Return the shards of the version that is current, if this one is cut like it and is to follow it.

    Their holders have on their disks what both have in common.
    """
    current = known.versions.get(VersionKey(version.table, known.current(version.table) or ""))
    if current is None or any(shard.holders for shard in version.shards) or not is_cut_like(version, current):
        return ()
    return current.shards


def _by_shard(held: Mapping[int, Collection[int]], before: Sequence[Shard]) -> dict[int, list[int]]:
    nodes = {number: [*shard.holders] for number, shard in enumerate(before)}
    for node, shards in held.items():
        for shard in shards:
            nodes.setdefault(shard, []).append(node)
    return nodes


def _denied(version: ShardedVersion, says: Mapping[int, Collection[int]], nodes: Sequence[Node]) -> list[str]:
    """Complain of shards that nobody holds who is named for them."""
    denied = [
        (number, shard.holders)
        for number, shard in enumerate(version.shards)
        if shard.holders and all(node in says and number not in says[node] for node in shard.holders)
    ]
    if not denied:
        return []
    number, holders = denied[0]
    complaint = (
        f"nobody holds {len(denied)} shards of version {version.version!r} of table {version.table!r} any more; the "
        f"first is shard {number}, which {nodes[holders[0]].id!r} held; it must come from the source {version.source!r}"
    )
    return [complaint]
