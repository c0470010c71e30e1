"""What a node of a cluster keeps, or finds where its map and its fellows' registrations are: any of it may be hostile.

Such files decide what the node removes, so nothing around its root may be touched, whatever they name.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from fuzz.json_text import hostile_json
from fuzz.sent import send
from fuzz.sentinels import Sentinels
from fuzz.target import ACCEPTED, REFUSED, TryOne, Wrong
from fuzz.wire_bytes import hostile_bytes
from support.rows import random_rows
from support.tables import write_table

from engram_store.shard_map import Node, Shard, ShardedVersion, ShardMap, TableSet, VersionKey, write_shard_map
from store_server.cluster.agreement.file_map_source import FileMapSource
from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.cluster.holdings.copies import Copies
from store_server.cluster.holdings.damaged_copies import mend_copies
from store_server.cluster.kept_cluster_id import KeptClusterId
from store_server.cluster.known_map import KnownMap
from store_server.cluster.registration import InvalidRegistration, NodeRegistration
from store_server.storage import DataRoot, RootOfAnotherCluster, VersionQuarantined
from store_server.storage.version_quarantine import QUARANTINED, require_no_quarantine
from store_server.workers.marks import Trace

_TABLE: Final = "kept"
_Hostile = Callable[..., bytes]


@contextlib.contextmanager
def kept_target(directory: Path) -> Iterator[TryOne]:
    """Read one of the files after another, with a version in the root and files around it that are nobody's."""
    root = directory / "root"
    version = write_table(root, _TABLE, random_rows(64, 33))
    (root / "cluster").mkdir()
    with Sentinels.planted(directory / "outside") as outside:
        ways = outside.ways_from(root / "tables")
        readers = [
            *(3 * [_quarantined(root / "tables" / _TABLE / "versions" / version)]),
            *(3 * [_known_map(root)]),
            *(3 * [_cluster_id(root)]),
            *(3 * [_map_file(directory / "map.json")]),
            *(3 * [_registration]),
            *(3 * [_marks]),
            _copies(root, ways, VersionKey(_TABLE, version)),
        ]

        def try_one(rng: random.Random) -> str:
            try:
                return rng.choice(readers)(rng)
            finally:
                outside.check()

        yield try_one


def _quarantined(version: Path) -> TryOne:
    path = version / QUARANTINED

    def try_one(rng: random.Random) -> str:
        path.write_bytes(hostile_json(rng, ({"since": "2026-11-23T07:00:00Z", "reason": "two workers ended"},)))
        try:
            require_no_quarantine(_TABLE, version.name, version)
        except VersionQuarantined as error:
            send(error)
            return REFUSED
        finally:
            path.unlink()
        raise Wrong("a version with a mark of quarantine beside it is served")

    return try_one


def _known_map(root: Path) -> TryOne:
    path = root / "cluster" / "map.json"

    def try_one(rng: random.Random) -> str:
        path.write_bytes(hostile_json(rng, (_MAP,)))
        try:
            known = KnownMap(root, cluster="prod")
        except RootOfAnotherCluster as error:
            send(error)
            return REFUSED
        if known.newest is not None and known.newest.cluster != "prod":
            raise Wrong(f"the map of {known.newest.cluster!r} was taken")
        return REFUSED if known.newest is None else ACCEPTED

    return try_one


def _cluster_id(root: Path) -> TryOne:
    path = root / "cluster" / "id"

    def try_one(rng: random.Random) -> str:
        path.write_bytes(hostile_bytes(rng, b"0f" * 16 + b"\n"))
        known = KeptClusterId(root).value
        if known and not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", known):
            raise Wrong(f"{known!r} was taken for the id of a cluster")
        return ACCEPTED if known else REFUSED

    return try_one


def _map_file(path: Path) -> TryOne:
    async def first() -> ShardMap | None:
        maps = FileMapSource(path).follow()
        try:
            return await anext(maps)
        finally:
            await maps.aclose()

    loop = asyncio.new_event_loop()

    def try_one(rng: random.Random) -> str:
        path.write_bytes(hostile_json(rng, (_MAP,)))
        try:
            found = loop.run_until_complete(first())
        except MapSourceFailed as error:
            str(error)
            return REFUSED
        if found is None:
            raise Wrong("the file is there, and no map was found")
        return ACCEPTED

    return try_one


def _registration(rng: random.Random) -> str:
    try:
        found = NodeRegistration.from_json(hostile_json(rng, (_REGISTRATION,)))
    except InvalidRegistration as error:
        str(error).encode()
        return REFUSED
    if NodeRegistration.from_json(found.to_json()) != found:
        raise Wrong(f"{found} is not what is read of it once it was written")
    return ACCEPTED


def _marks(rng: random.Random) -> str:
    """Read the marks of a worker that died, and of whose memory nobody knows what is left."""
    trace = Trace()
    try:
        name = hostile_json(rng, (["m/layer-1", "0" * 32, [1, 2, 3]],))
        slot = (7).to_bytes(8, "little") + hostile_bytes(rng, name)[:504]
        os.pwrite(trace.descriptor, slot, 0)
        os.pwrite(trace.descriptor, rng.choice((b"", b"Current thread 0x7 (most recent\n")), 256 * 512)
        found = trace.culprit()
    finally:
        trace.close()
    if found is not None and not (isinstance(found.table, str) and isinstance(found.version, str)):
        raise Wrong(f"{found} names no version")
    return REFUSED if found is None else ACCEPTED


def _copies(root: Path, ways: list[str], own: VersionKey) -> TryOne:
    path = root / "cluster" / "copies.json"
    document: list[Any] = [["gone", "0" * 32], [ways[0], own.version], [_TABLE, ways[0]]]

    def try_one(rng: random.Random) -> str:
        path.write_bytes(hostile_json(rng, (document,), ways))
        copies = Copies(root)
        mend_copies(DataRoot.open(root), copies, set(copies), current=set(copies))
        if DataRoot.open(root).versions(_TABLE) != [own.version]:
            raise Wrong("the version that is sound was removed")
        return ACCEPTED if any(True for _ in copies) else REFUSED

    return try_one


_VERSION: Final = ShardedVersion(
    table="m", version="v1", num_rows=100, row_bytes=16, block_rows=10, shards=(Shard(end_row=100, holders=(0,)),)
)
_NODE: Final = {"id": "a", "address": "10.0.0.1:1", "labels": {"zone": "a"}, "capacity_bytes": 5, "draining": False}
_MAP: Final = json.loads(
    write_shard_map(
        ShardMap(
            cluster="prod",
            epoch=7,
            replicas=1,
            nodes=(Node(id="a", address="10.0.0.1:1"),),
            versions={_VERSION.key: _VERSION},
            sets={"m": TableSet(name="m", current={"m": "v1"})},
        )
    )
)
_REGISTRATION: Final = {
    "node": _NODE,
    "incarnation": "i",
    "held": [["m", "v1", [[0, 2], [3, 5]]]],
    "bytes_used": 80,
    "read": [["m", "v1"]],
    "replicas": 2,
}
