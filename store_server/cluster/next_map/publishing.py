"""What becomes of the shard map when versions are published: pure functions of the map."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from engram_store.shard_map import ShardedVersion, ShardMap, TableSet, VersionKey
from store_server.cluster.blocks.block_source import MOST_MANIFEST_BYTES
from store_server.cluster.next_map.map_size import size_complaint
from store_server.cluster.next_map.pending_versions import is_current, without_pending, without_unread
from store_server.cluster.next_map.set_switch import importance
from store_server.cluster.placement.assignment import assign
from store_server.cluster.placement.shard_layout import shards_after

if TYPE_CHECKING:
    from store_server.storage import Manifest


class CannotPublish(Exception):
    """What was asked for cannot become current; says why. What was current stays so."""


class NotEnoughRoom(CannotPublish):
    """The nodes cannot hold it beside what they hold."""


def with_pending(
    known: ShardMap,
    set_name: str,
    manifests: Mapping[str, Manifest],
    *,
    publisher: str,
    source: str,
    living: Collection[str],
    replicas: int | None = None,
    allow_change: bool = False,
) -> ShardMap:
    """Return the next map, in which versions (`manifests`, by table) are pending in a set. It is made if it is new.

    Nodes fetch them from `source`, and `publisher` makes them current by `switched`. What was pending before gives way;
    if all of them are current already, nothing is pending, and the map is `known` itself unless `replicas` differ.
    `living` are the ids of the nodes that are there; `replicas` is for the whole cluster from now on, None for what it
    has. Raises CannotPublish if a table belongs to another set, is of another kind than its current version (unless
    `allow_change`) or cannot be copied; if `replicas` is more than the living nodes, or if they have not the memory; if
    the map would grow too large. Retired versions, which leave as soon as there is no room for them, count for neither.
    """
    before, known = known, _with_replicas(known, replicas, living)
    if is_current(known, set_name, {table: manifest.version for table, manifest in manifests.items()}):
        if known == before:
            return before
        _check_room(known, living)
        return replace(known, epoch=known.epoch + 1)
    each = known.sets.get(set_name, TableSet(name=set_name, current={}))
    for table, manifest in manifests.items():
        _check_copyable(table, manifest)
        _check_set(known, each, table)
        if not allow_change:
            _check_alike(known, table, manifest)
    pending = {table: manifest.version for table, manifest in manifests.items()}
    sets = {**known.sets, set_name: replace(without_pending(each), pending=pending, publisher=publisher)}
    num_tables = len({table for one in sets.values() for table in (*one.current, *one.pending)})
    new = [
        _version(known, table, manifest, source, num_nodes=len(living), num_tables=num_tables)
        for table, manifest in manifests.items()
    ]
    versions = {**without_unread(each.pending, known.versions, sets), **{version.key: version for version in new}}
    following = replace(known, epoch=known.epoch + 1, versions=versions, sets=sets)
    _check_room(following, living)
    return following


def _with_replicas(known: ShardMap, replicas: int | None, living: Collection[str]) -> ShardMap:
    wanted = known.replicas if replicas is None else replicas
    if wanted < 1:
        raise CannotPublish(f"replicas must be at least 1, got {wanted}")
    if wanted > len(living):
        raise CannotPublish(f"{wanted} replicas need as many nodes, and {len(living)} are alive")
    if wanted > len(known.nodes):
        raise CannotPublish(f"{wanted} replicas need as many nodes, and the map has {len(known.nodes)}")
    return replace(known, replicas=wanted)


def _check_copyable(table: str, manifest: Manifest) -> None:
    if manifest.is_attached:
        raise CannotPublish(
            f"version {manifest.version} of table {table!r} lies in files of a checkpoint, which are not copied to "
            "nodes: import it, and publish that"
        )
    if (num_bytes := len(manifest.to_json())) > MOST_MANIFEST_BYTES:
        raise CannotPublish(
            f"version {manifest.version} of table {table!r} has a manifest of {num_bytes:,} bytes, and nodes take one "
            f"of at most {MOST_MANIFEST_BYTES:,}: cut it into several tables"
        )
    if not manifest.block_digests:
        raise CannotPublish(
            f"the digests of version {manifest.version} of table {table!r} are not known yet: run `engram-store "
            "verify` on its data root first"
        )


def _check_set(known: ShardMap, each: TableSet, table: str) -> None:
    owner = known.set_of(table)
    if owner is not None and owner.name != each.name:
        raise CannotPublish(f"table {table!r} belongs to the set {owner.name!r}, and a table is in one set only")


def _check_alike(known: ShardMap, table: str, manifest: Manifest) -> None:
    current = known.current(table)
    if current is None:
        return
    before = known.versions[VersionKey(table, current)]
    for name in ("row_bytes", "row_format", "fingerprint"):
        if getattr(before, name) != getattr(manifest, name):
            raise CannotPublish(
                f"table {table!r} has {name} {getattr(before, name)!r}, version {manifest.version} has "
                f"{getattr(manifest, name)!r}: its readers would not understand it; --allow-change publishes it all "
                "the same"
            )


def _version(
    known: ShardMap, table: str, manifest: Manifest, source: str, *, num_nodes: int, num_tables: int
) -> ShardedVersion:
    """Return what the map is to say of a version; what nodes have of it already counts."""
    there = known.versions.get(VersionKey(table, manifest.version))
    if there is not None:
        return replace(there, source=source)
    return ShardedVersion(
        table=table,
        version=manifest.version,
        num_rows=manifest.num_rows,
        row_bytes=manifest.row_bytes,
        block_rows=manifest.block_rows,
        row_format=manifest.row_format,
        fingerprint=manifest.fingerprint,
        source=source,
        shards=shards_after(
            known.versions.get(VersionKey(table, known.current(table) or "")),
            manifest.num_rows,
            manifest.block_rows,
            num_nodes,
            num_tables=num_tables,
        ),
    )


def _check_room(following: ShardMap, living: Collection[str]) -> None:
    """Place the named versions as nodes will, to see whether they fit, and the map that says so too."""
    rank = importance(following.sets.values())
    versions = [following.versions[key] for key in sorted(rank, key=lambda key: (rank[key], key))]
    lost = {node.id for node in following.nodes} - set(living)
    targets, shortage = assign(following.nodes, versions, following.replicas, lost=lost)
    if shortage:
        raise NotEnoughRoom(f"the nodes have not enough memory: {shortage}")
    placed = {version.key: _held_by(version, targets[version.key]) for version in versions}
    if too_large := size_complaint(replace(following, versions=placed)):
        raise CannotPublish(too_large)


def _held_by(version: ShardedVersion, targets: Sequence[tuple[int, ...]]) -> ShardedVersion:
    shards = (
        replace(shard, holders=nodes or shard.holders, joining=())
        for shard, nodes in zip(version.shards, targets, strict=True)
    )
    return replace(version, shards=tuple(shards))
