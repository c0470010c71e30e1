"""A shard map is whole and consistent, or no shard map; and says the same as a message, as JSON and as values."""

from dataclasses import replace

import pytest

from engram_store.shard_map import (
    InvalidShardMap,
    Node,
    Shard,
    ShardedVersion,
    ShardMap,
    TableSet,
    VersionKey,
    parse_shard_map,
    read_shard_map,
    to_message,
    write_shard_map,
)

VERSION = ShardedVersion(
    table="m/layer-1",
    version="v1",
    num_rows=250,
    row_bytes=264,
    block_rows=100,
    row_format="float8_e4m3+e8m0/32",
    fingerprint="f",
    source="file:///data",
    shards=(Shard(end_row=100, holders=(0, 1)), Shard(end_row=250, holders=(2, 1), joining=(0,))),
)
NEXT = replace(VERSION, version="v2")
MAP = ShardMap(
    cluster="c",
    epoch=7,
    replicas=2,
    nodes=(
        Node(id="a", address="10.0.0.1:50051", labels={"zone": "1", "rack": "x"}, capacity_bytes=10**12),
        Node(id="b", address="10.0.0.2:50051", draining=True),
        Node(id="c", address="10.0.0.3:50051"),
    ),
    versions={VERSION.key: VERSION, NEXT.key: NEXT},
    sets={
        "m": TableSet(
            name="m",
            current={"m/layer-1": "v1"},
            previous={"m/layer-1": "v2"},
            pending={"m/layer-1": "v2"},
            pending_complete=True,
            publisher="p",
        )
    },
)


def with_shards(*shards):
    return replace(MAP, versions={VERSION.key: replace(VERSION, shards=shards), NEXT.key: NEXT})


NO_TABLES = ("", "bad name!", "../x", "a//b", "/a", "a/", "a\n", "a" * 201)
NO_VERSIONS = ("", "../x", "a/b", ".", "v\n", "v" * 101)


def with_version(**changes):
    version = replace(VERSION, **changes)
    return replace(MAP, versions={version.key: version}, sets={})


def test_a_map_is_the_same_as_a_message_and_as_json():
    assert parse_shard_map(to_message(MAP).SerializeToString()) == MAP
    assert read_shard_map(write_shard_map(MAP)) == MAP


def test_a_map_may_be_written_by_hand():
    text = """{"cluster": "c", "epoch": 1, "replicas": 1, "nodes": [{"id": "a", "address": "h:1"}],
        "versions": [{"table": "t", "version": "v", "numRows": 10, "rowBytes": 8, "blockRows": 4,
                      "shards": [{"endRow": 4, "holders": [0]}, {"endRow": 10, "holders": [0]}]}],
        "sets": [{"name": "t", "current": {"t": "v"}}]}"""

    shard_map = read_shard_map(text)

    assert shard_map.current("t") == "v"
    assert [shard.end_row for shard in shard_map.versions[VersionKey("t", "v")].shards] == [4, 10]


def test_a_field_that_is_unknown_is_refused_by_the_names_that_the_proto_has():
    with pytest.raises(InvalidShardMap, match='no field named "rows"') as caught:
        read_shard_map('{"versions": [{"rows": 10}]}')

    assert "'num_rows', 'row_bytes'" in str(caught.value)


def test_a_table_has_the_current_version_of_its_set():
    assert MAP.current("m/layer-1") == "v1"
    assert MAP.set_of("m/layer-1").name == "m"
    assert MAP.current("m/layer-2") is None
    assert MAP.set_of("m/layer-2") is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(MAP, epoch=0), "epoch of a shard map must be at least 1 and at most"),
        (lambda: replace(MAP, replicas=0), "replicas must be at least 1 and at most the number of nodes, 3, got 0"),
        (lambda: replace(MAP, replicas=4), "at most the number of nodes, 3, got 4"),
        (lambda: replace(MAP, nodes=(*MAP.nodes[:2], replace(MAP.nodes[2], id="a"))), "the id of a node a twice"),
        (
            lambda: replace(MAP, nodes=(*MAP.nodes[:2], replace(MAP.nodes[2], address="10.0.0.1:50051"))),
            "the address of a node 10.0.0.1:50051 twice",
        ),
        (lambda: replace(MAP, nodes=(*MAP.nodes[:2], replace(MAP.nodes[2], id=""))), "id of a node is missing"),
        (lambda: with_shards(Shard(end_row=100, holders=(0,))), "the shards end at row 100, the table at 250"),
        (
            lambda: with_shards(Shard(end_row=200, holders=(0,)), Shard(end_row=100, holders=(1,))),
            "shard 1 ends at row 100 and begins at 200",
        ),
        (lambda: with_shards(Shard(end_row=300, holders=(0,))), "the shards end at row 300, the table at 250"),
        (
            lambda: with_shards(Shard(end_row=150, holders=(0,)), Shard(end_row=250, holders=(1,))),
            "shard 0 ends at row 150, inside a block; blocks have 100 rows",
        ),
        (lambda: with_shards(Shard(end_row=250, holders=(3,))), "node 3 is unknown; the map has 3 nodes"),
        (lambda: with_shards(Shard(end_row=250, holders=(1, 1))), "name a node twice"),
        (lambda: with_shards(Shard(end_row=250, holders=(1,), joining=(1,))), "name a node twice"),
        (lambda: with_shards(Shard(end_row=250, holders=(), joining=(1,))), "is current, and nobody holds its shard 0"),
        (
            lambda: replace(
                MAP, versions={**MAP.versions, NEXT.key: replace(NEXT, shards=(Shard(end_row=250, holders=()),))}
            ),
            "'v2' of table 'm/layer-1' is pending and complete, and nobody holds its shard 0",
        ),
        (
            lambda: replace(MAP, versions={NEXT.key: NEXT}),
            "set 'm' names version 'v1' of table 'm/layer-1', of which the map has no shards",
        ),
        (
            lambda: replace(MAP, sets={**MAP.sets, "n": TableSet(name="n", current={"m/layer-1": "v2"})}),
            "table 'm/layer-1' is in two sets, 'm' and 'n'",
        ),
        (
            lambda: replace(MAP, versions={VERSION.key: replace(VERSION, row_bytes=0), NEXT.key: NEXT}),
            "row_bytes must be at least 1",
        ),
        (
            lambda: replace(MAP, versions={VERSION.key: replace(VERSION, num_rows=1 << 63), NEXT.key: NEXT}),
            "num_rows must be at least 1 and at most",
        ),
        (lambda: with_version(row_bytes=1 << 31), "row_bytes must be at least 1 and at most 1048576, got 2147483648"),
        (lambda: with_version(block_rows=0), "block_rows must be at least 1"),
        (
            lambda: with_version(num_rows=1 << 40, block_rows=1, shards=(Shard(end_row=1 << 40, holders=(0,)),)),
            "at most 16777216 blocks, got 1099511627776",
        ),
        *((lambda name=name: with_version(table=name), "no table can have that name") for name in NO_TABLES),
        *((lambda name=name: with_version(version=name), "no version can have that name") for name in NO_VERSIONS),
        (lambda: replace(MAP, epoch=(1 << 64) - 1), "at most 4611686018427387904, got 18446744073709551615"),
        (
            lambda: replace(MAP, nodes=(replace(MAP.nodes[0], capacity_bytes=1 << 63), *MAP.nodes[1:])),
            "the capacity of node 'a' must be at least 0 and at most",
        ),
    ],
)
def test_a_map_that_contradicts_itself_is_refused(make, message):
    with pytest.raises(InvalidShardMap, match=message):
        make()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"epoch": -1}', '{"unknown": 1}', b"\xff\xfe", "[" * 100_000])
def test_what_is_no_map_is_refused(text):
    with pytest.raises(InvalidShardMap):
        read_shard_map(text)


def test_a_message_cut_short_or_with_a_version_twice_is_refused():
    data = to_message(MAP).SerializeToString()
    with pytest.raises(InvalidShardMap, match="are no ShardMap"):
        parse_shard_map(data[:-3])

    twice = to_message(MAP)
    twice.versions.append(twice.versions[0])
    with pytest.raises(InvalidShardMap, match="the version v1 of table 'm/layer-1' twice"):
        parse_shard_map(twice.SerializeToString())
