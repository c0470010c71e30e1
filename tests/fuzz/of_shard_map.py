"""The reader of shard maps: what it accepts gives every row of every version to nodes that the map has."""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path
from typing import Final

from fuzz.json_text import hostile_json
from fuzz.target import ACCEPTED, REFUSED, TryOne, Wrong
from fuzz.wire_bytes import hostile_message

from engram_store.shard_map import (
    InvalidShardMap,
    Node,
    Shard,
    ShardedVersion,
    ShardMap,
    TableSet,
    parse_shard_map,
    read_shard_map,
    to_message,
    write_shard_map,
)

_VERSIONS = [
    ShardedVersion(
        table=table,
        version=f"v{number}",
        num_rows=100,
        row_bytes=16,
        block_rows=10,
        row_format="float32",
        shards=(Shard(end_row=50, holders=(0, 1)), Shard(end_row=100, holders=(1,), joining=(2,))),
    )
    for number, table in enumerate(("m/layer-1", "m/layer-2", "n"))
]
_MAP: Final = ShardMap(
    cluster="prod",
    epoch=7,
    replicas=2,
    nodes=tuple(
        Node(id=f"n{number}", address=f"10.0.0.{number}:1", labels={"zone": "a"}, capacity_bytes=1 << 40)
        for number in range(3)
    ),
    versions={each.key: each for each in _VERSIONS},
    sets={
        "m": TableSet(name="m", current={"m/layer-1": "v0", "m/layer-2": "v1"}, previous={"m/layer-1": "v0"}),
        "n": TableSet(name="n", current={"n": "v2"}, pending={"n": "v2"}, pending_complete=True, publisher="p"),
    },
)
_MESSAGES: Final = (to_message(_MAP).SerializeToString(deterministic=True),)
_DOCUMENTS: Final = (json.loads(write_shard_map(_MAP)),)


def shard_map_target(_: Path) -> contextlib.AbstractContextManager[TryOne]:
    """Read maps as messages and as JSON."""
    return contextlib.nullcontext(_try_one)


def _try_one(rng: random.Random) -> str:
    try:
        if rng.random() < 0.5:
            found = parse_shard_map(hostile_message(rng, _MESSAGES))
        else:
            found = read_shard_map(hostile_json(rng, _DOCUMENTS))
    except InvalidShardMap as error:
        str(error)
        return REFUSED
    _check(found)
    return ACCEPTED


def _check(found: ShardMap) -> None:
    if (
        parse_shard_map(to_message(found).SerializeToString()) != found
        or read_shard_map(write_shard_map(found)) != found
    ):
        raise Wrong(f"{found} is not what is read of it once it was written")
    for version in found.versions.values():
        ends = [0, *(shard.end_row for shard in version.shards)]
        if ends != sorted(set(ends)) or ends[-1] != version.num_rows or version.num_rows < 1:
            raise Wrong(f"{version.key}: shards end at {ends}, there are {version.num_rows} rows")
        named = {node for shard in version.shards for node in (*shard.holders, *shard.joining)}
        if named - set(range(len(found.nodes))):
            raise Wrong(f"{version.key}: {named} are not nodes of the {len(found.nodes)}")
    for version in found.current_versions():
        if not all(shard.holders for shard in version.shards):
            raise Wrong(f"{version.key} is current, and nobody holds a part of it")
