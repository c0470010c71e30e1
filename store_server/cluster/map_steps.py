"""The next shard map, from the known one and from what nodes say: pure steps that every node proposes alike.

Who proposes a map stores it by compare-and-swap, so it does not matter who is first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from engram_store.shard_map import Node, ShardedVersion, ShardMap, VersionKey
from store_server.cluster.assignment import DOMAIN_LABELS, assign
from store_server.cluster.lost_nodes import LossSettings, lost_nodes
from store_server.cluster.membership import Members, next_members
from store_server.cluster.next_holders import held_shards, next_shards
from store_server.cluster.registration import NodeRegistration
from store_server.cluster.set_switch import importance, named_versions, switched


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
) -> MapStep:
    """Return the map that follows, of the next epoch, or None if nothing changes. For `away_seconds` see `lost_nodes`.

    - Live nodes that are not in the map join it. Lost ones leave it once they hold and join nothing, if enough nodes
      for the replicas remain.
    - Shards go to the nodes that `assign` chooses: `next_shards` says when those hold them and when others leave.
    - A set's pending versions become current, and what was current previous, once every shard of all of them has all
      its holders: as many as replicas, or as nodes neither draining nor lost.
    - Versions that no set names leave the map.

    Nodes are believed: one that is about to drop a shard must first register without it, and drop it only when the map
    has not named it for a while. With a thousand nodes and many new shards a step takes some seconds of a processor.
    """
    members = next_members(known.nodes, registrations)
    lost = lost_nodes(members.nodes, members.live, away_seconds, settings)
    stays = sum(not node.draining and node.id not in lost for node in members.nodes)
    enough = min(known.replicas, stays) if stays else known.replicas
    versions, complaints = _next_versions(known, members, lost, enough, domain_labels)
    sets = {name: switched(each, versions, enough) for name, each in known.sets.items()}
    versions = named_versions(versions, sets.values())
    nodes, versions = _without_empty(members.nodes, lost, versions, known.replicas)
    following = replace(known, nodes=nodes, versions=versions, sets=sets)
    return MapStep(
        None if following == known else replace(following, epoch=known.epoch + 1), (*members.complaints, *complaints)
    )


def _next_versions(
    known: ShardMap, members: Members, lost: Collection[str], enough: int, domain_labels: Sequence[str]
) -> tuple[dict[VersionKey, ShardedVersion], list[str]]:
    """Return the versions that are named, with the holders that follow, and complaints."""
    rank = importance(known.sets.values())
    versions = [known.versions[key] for key in sorted(rank, key=lambda key: (rank[key], key))]
    says = {version.key: _says(version, members) for version in versions}
    targets, shortage = assign(
        members.nodes,
        versions,
        known.replicas,
        lost=lost,
        away={node.id for node in members.nodes} - members.live.keys(),
        found_at={key: _by_shard(held) for key, held in says.items()},
        domain_labels=domain_labels,
    )
    following: dict[VersionKey, ShardedVersion] = {}
    complaints = [shortage] if shortage else []
    for version in versions:
        key, is_current = version.key, rank[version.key] == 0
        shards = next_shards(version, targets[key], says[key], enough=enough, is_current=is_current)
        following[key] = replace(version, shards=shards)
        complaints += _denied(following[key], says[key], members.nodes)
    return following, complaints


def _says(version: ShardedVersion, members: Members) -> dict[int, set[int]]:
    """Return the shards that each live node says it holds."""
    live = {number: members.live[node.id] for number, node in enumerate(members.nodes) if node.id in members.live}
    return held_shards(version, {number: each.held.get(version.key, ()) for number, each in live.items()})


def _by_shard(held: Mapping[int, Collection[int]]) -> dict[int, list[int]]:
    nodes: dict[int, list[int]] = {}
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


def _without_empty(
    nodes: Sequence[Node], lost: Collection[str], versions: Mapping[VersionKey, ShardedVersion], replicas: int
) -> tuple[tuple[Node, ...], dict[VersionKey, ShardedVersion]]:
    """Leave out lost nodes that hold and join nothing; shards then name the others by their new places."""
    named = {
        node for version in versions.values() for shard in version.shards for node in (*shard.holders, *shard.joining)
    }
    empty = [place for place, node in enumerate(nodes) if node.id in lost and place not in named]
    gone = set(sorted(empty, key=lambda place: nodes[place].id)[: len(nodes) - replicas])
    if not gone:
        return tuple(nodes), dict(versions)
    stay = [place for place in range(len(nodes)) if place not in gone]
    new_place = {place: number for number, place in enumerate(stay)}
    moved = {
        key: replace(
            version,
            shards=tuple(
                replace(
                    shard,
                    holders=tuple(new_place[node] for node in shard.holders),
                    joining=tuple(new_place[node] for node in shard.joining),
                )
                for shard in version.shards
            ),
        )
        for key, version in versions.items()
    }
    return tuple(nodes[place] for place in stay), moved
