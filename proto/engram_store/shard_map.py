"""The shard map: which nodes hold which rows of which versions. Checked whenever it comes from outside.

What travels and is stored is the message ShardMap (cluster_service.proto); this is the same as plain values, for those
who decide by it: the client where to look up, nodes what to hold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from engram_store.v1 import cluster_service_pb2 as pb

MAX_MAP_BYTES: Final = 1 << 20
"""Of a map as a message: what etcd takes in one value by default is a little more."""
MAX_CAPACITY_BYTES: Final = 1 << 62
"""That a node can say that it has room for."""
_MOST_EPOCHS: Final = 1 << 62
_MOST_ROWS: Final = 1 << 62
_MOST_ROW_BYTES: Final = 1 << 20
_MOST_BLOCKS: Final = 1 << 24
"""Of a version: nodes look at each of them whenever they look what they are to hold."""
_TABLE: Final = re.compile(r"(?=.{1,200}\Z)[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MOST_ROWS_A_LOOKUP: Final = 131_072
_MOST_BYTES_A_LOOKUP: Final = 3 << 20
_QUOTED: Final = re.compile(r"'(\w+)'")
_NAMES: Final = {
    each.json_name: each.name for message in pb.DESCRIPTOR.message_types_by_name.values() for each in message.fields
}
"""Of fields, by what errors of the JSON parser call them: both are read, and one is known from the .proto."""


class InvalidShardMap(ValueError):
    """A shard map contradicts itself; says where and how."""


class VersionKey(NamedTuple):
    """What names the content of a table."""

    table: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A memory node of the cluster; see the message Node."""

    id: str
    address: str
    labels: Mapping[str, str] = field(default_factory=dict)
    capacity_bytes: int = 0
    draining: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Rows up to `end_row`, from the end of the shard before. Nodes are named by their places in `ShardMap.nodes`."""

    end_row: int
    holders: tuple[int, ...]
    joining: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardedVersion:
    """One version of a table and its shards; see the message ShardedVersion."""

    table: str
    version: str
    num_rows: int
    row_bytes: int
    block_rows: int
    shards: tuple[Shard, ...]
    row_format: str = ""
    fingerprint: str = ""
    source: str = ""

    @property
    def key(self) -> VersionKey:
        """What the map finds it by."""
        return VersionKey(self.table, self.version)

    @property
    def max_rows_per_lookup(self) -> int:
        """Most rows that clients ask a node of a cluster for in one lookup: any node takes as many."""
        return max(1, min(_MOST_ROWS_A_LOOKUP, _MOST_BYTES_A_LOOKUP // self.row_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSet:
    """Tables whose current versions belong together; each mapping is table to version. See the message TableSet."""

    name: str
    current: Mapping[str, str]
    previous: Mapping[str, str] = field(default_factory=dict)
    pending: Mapping[str, str] = field(default_factory=dict)
    pending_complete: bool = False
    publisher: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardMap:
    """One epoch of a cluster. Raises InvalidShardMap unless it is whole and consistent."""

    cluster: str
    epoch: int
    replicas: int
    nodes: tuple[Node, ...]
    versions: Mapping[VersionKey, ShardedVersion] = field(default_factory=dict)
    sets: Mapping[str, TableSet] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.epoch <= _MOST_EPOCHS:
            raise InvalidShardMap(
                f"the epoch of a shard map must be at least 1 and at most {_MOST_EPOCHS}, got {self.epoch}"
            )
        if not 1 <= self.replicas <= max(1, len(self.nodes)):
            raise InvalidShardMap(
                f"replicas must be at least 1 and at most the number of nodes, {len(self.nodes)}, got {self.replicas}"
            )
        _check_unique("id of a node", [node.id for node in self.nodes])
        _check_unique("address of a node", [node.address for node in self.nodes])
        for node in self.nodes:
            if not 0 <= node.capacity_bytes <= MAX_CAPACITY_BYTES:
                raise InvalidShardMap(
                    f"the capacity of node {node.id!r} must be at least 0 and at most {MAX_CAPACITY_BYTES} bytes, got "
                    f"{node.capacity_bytes}"
                )
        for version in self.versions.values():
            _check_size(version)
            _check_shards(version, len(self.nodes))
        self._check_sets()

    def current(self, table: str) -> str | None:
        """Return the current version of a table, None if it has none."""
        found = self.set_of(table)
        return found.current.get(table) if found is not None else None

    def current_versions(self) -> list[ShardedVersion]:
        """Return the current version of every table, ordered by name."""
        keys = sorted(VersionKey(*item) for each in self.sets.values() for item in each.current.items())
        return [self.versions[key] for key in keys]

    def set_of(self, table: str) -> TableSet | None:
        """Return the set that a table belongs to."""
        return next((each for each in self.sets.values() if table in each.current or table in each.pending), None)

    def _check_sets(self) -> None:
        owner: dict[str, str] = {}
        for each in self.sets.values():
            for table in {*each.current, *each.pending}:
                if owner.setdefault(table, each.name) != each.name:
                    raise InvalidShardMap(f"table {table!r} is in two sets, {owner[table]!r} and {each.name!r}")
            for table, version in (*each.current.items(), *each.previous.items(), *each.pending.items()):
                if (table, version) not in self.versions:
                    raise InvalidShardMap(
                        f"set {each.name!r} names version {version!r} of table {table!r}, of which the map has no "
                        "shards"
                    )
        for each in self.sets.values():
            self._check_held(each.current, "current")
            if each.pending_complete:
                self._check_held(each.pending, "pending and complete")

    def _check_held(self, versions: Mapping[str, str], state: str) -> None:
        for table, version in versions.items():
            for number, shard in enumerate(self.versions[VersionKey(table, version)].shards):
                if not shard.holders:
                    raise InvalidShardMap(
                        f"version {version!r} of table {table!r} is {state}, and nobody holds its shard {number}"
                    )


def parse_shard_map(data: bytes) -> ShardMap:
    """Return the map in a serialised message; raises InvalidShardMap."""
    try:
        return from_message(pb.ShardMap.FromString(data))
    except DecodeError as error:
        raise InvalidShardMap(f"{len(data)} bytes are no ShardMap: {error}") from error


def read_shard_map(text: str | bytes) -> ShardMap:
    """Return the map in a JSON text; raises InvalidShardMap."""
    try:
        return from_message(json_format.Parse(text, pb.ShardMap()))
    except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        as_written = _QUOTED.sub(lambda found: f"'{_NAMES.get(found[1], found[1])}'", str(error))
        raise InvalidShardMap(f"no shard map: {as_written}") from error


def write_shard_map(shard_map: ShardMap) -> str:
    """Return the JSON text that `read_shard_map` reads."""
    return str(json_format.MessageToJson(to_message(shard_map), indent=2)) + "\n"


def from_message(message: pb.ShardMap) -> ShardMap:
    """Return what a message says; raises InvalidShardMap."""
    versions = [_version_of(version) for version in message.versions]
    _check_unique("version", [f"{version.version} of table {version.table!r}" for version in versions])
    _check_unique("name of a set", [each.name for each in message.sets])
    return ShardMap(
        cluster=message.cluster,
        epoch=message.epoch,
        replicas=message.replicas,
        nodes=tuple(
            Node(
                id=node.id,
                address=node.address,
                labels=dict(node.labels),
                capacity_bytes=node.capacity_bytes,
                draining=node.draining,
            )
            for node in message.nodes
        ),
        versions={version.key: version for version in versions},
        sets={
            each.name: TableSet(
                name=each.name,
                current=dict(each.current),
                previous=dict(each.previous),
                pending=dict(each.pending),
                pending_complete=each.pending_complete,
                publisher=each.publisher,
            )
            for each in message.sets
        },
    )


def to_message(shard_map: ShardMap) -> pb.ShardMap:
    """Return the message that says the same, always in the same order."""
    return pb.ShardMap(
        cluster=shard_map.cluster,
        epoch=shard_map.epoch,
        replicas=shard_map.replicas,
        nodes=[
            pb.Node(
                id=node.id,
                address=node.address,
                labels=node.labels,
                capacity_bytes=node.capacity_bytes,
                draining=node.draining,
            )
            for node in shard_map.nodes
        ],
        versions=[_message_of(shard_map.versions[key]) for key in sorted(shard_map.versions)],
        sets=[
            pb.TableSet(
                name=each.name,
                current=each.current,
                previous=each.previous,
                pending=each.pending,
                pending_complete=each.pending_complete,
                publisher=each.publisher,
            )
            for _, each in sorted(shard_map.sets.items())
        ],
    )


def _version_of(message: pb.ShardedVersion) -> ShardedVersion:
    return ShardedVersion(
        table=message.table,
        version=message.version,
        num_rows=message.num_rows,
        row_bytes=message.row_bytes,
        row_format=message.row_format,
        fingerprint=message.fingerprint,
        block_rows=message.block_rows,
        source=message.source,
        shards=tuple(
            Shard(end_row=shard.end_row, holders=tuple(shard.holders), joining=tuple(shard.joining))
            for shard in message.shards
        ),
    )


def _message_of(version: ShardedVersion) -> pb.ShardedVersion:
    return pb.ShardedVersion(
        table=version.table,
        version=version.version,
        num_rows=version.num_rows,
        row_bytes=version.row_bytes,
        row_format=version.row_format,
        fingerprint=version.fingerprint,
        block_rows=version.block_rows,
        source=version.source,
        shards=[
            pb.Shard(end_row=shard.end_row, holders=shard.holders, joining=shard.joining) for shard in version.shards
        ],
    )


def _check_unique(what: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if not name:
            raise InvalidShardMap(f"the {what} is missing")
        if name in seen:
            raise InvalidShardMap(f"the map has the {what} {name} twice")
        seen.add(name)


def _check_size(version: ShardedVersion) -> None:
    """See that a node can have such a version on its disk, in a directory of that name."""
    where = _name_of(version)
    for what, name, allowed in (("table", version.table, _TABLE), ("version", version.version, _VERSION)):
        if not allowed.fullmatch(name):
            raise InvalidShardMap(
                f"{where:.400}: no {what} can have that name; letters, digits, dots, dashes and underscores are "
                f"possible, the first a letter or a digit{', and slashes between' if what == 'table' else ''}"
            )
    for name, most in (("num_rows", _MOST_ROWS), ("row_bytes", _MOST_ROW_BYTES), ("block_rows", _MOST_ROWS)):
        if not 1 <= getattr(version, name) <= most:
            raise InvalidShardMap(
                f"{where}: {name} must be at least 1 and at most {most}, got {getattr(version, name)}"
            )
    num_blocks = -(-version.num_rows // version.block_rows)
    if num_blocks > _MOST_BLOCKS:
        raise InvalidShardMap(f"{where}: it must have at most {_MOST_BLOCKS} blocks, got {num_blocks}: more block_rows")


def _name_of(version: ShardedVersion) -> str:
    return f"version {version.version!r} of table {version.table!r}"


def _check_shards(version: ShardedVersion, num_nodes: int) -> None:
    where = _name_of(version)
    start = 0
    for number, shard in enumerate(version.shards):
        if shard.end_row <= start:
            raise InvalidShardMap(
                f"{where}: shard {number} ends at row {shard.end_row} and begins at {start}: they overlap"
            )
        if shard.end_row % version.block_rows and shard.end_row != version.num_rows:
            raise InvalidShardMap(
                f"{where}: shard {number} ends at row {shard.end_row}, inside a block; blocks have "
                f"{version.block_rows} rows"
            )
        _check_nodes(f"{where}: shard {number}", shard, num_nodes)
        start = shard.end_row
    if start != version.num_rows:
        raise InvalidShardMap(f"{where}: the shards end at row {start}, the table at {version.num_rows}")


def _check_nodes(where: str, shard: Shard, num_nodes: int) -> None:
    nodes = (*shard.holders, *shard.joining)
    if len(set(nodes)) != len(nodes):
        raise InvalidShardMap(f"{where}: holders {shard.holders} and joining {shard.joining} name a node twice")
    for node in nodes:
        if not 0 <= node < num_nodes:
            raise InvalidShardMap(f"{where}: node {node} is unknown; the map has {num_nodes} nodes, from 0 on")
