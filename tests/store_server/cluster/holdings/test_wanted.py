"""What a node is to hold by a map, and whom it asks for it."""

import dataclasses

from support.shard_maps import shard_map_of

from engram_store.shard_map import Node, Shard, VersionKey
from store_server.cluster.holdings.wanted import wanted_shards

NODES = tuple(Node(id=each, address=f"{each}:1") for each in "abcd")
KEY = VersionKey("layer-1", "v1")


def map_with(*shards, source=""):
    """A map of four nodes and one version with these shards."""
    found = shard_map_of(*NODES)
    version = dataclasses.replace(found.versions[KEY], shards=shards, source=source)
    return dataclasses.replace(found, versions={KEY: version})


def test_a_node_is_to_hold_what_it_holds_and_what_it_joins():
    shard_map = map_with(
        Shard(end_row=40, holders=(0,), joining=(1,)),
        Shard(end_row=70, holders=(0,)),
        Shard(end_row=100, holders=(1, 0)),
    )

    wanted = wanted_shards(shard_map, "b")

    assert [(each.key, each.number, each.first, each.end) for each in wanted] == [(KEY, 0, 0, 4), (KEY, 2, 7, 10)]
    assert wanted_shards(shard_map, "c") == wanted_shards(shard_map, "unknown") == []


def test_other_holders_are_asked_before_the_source_and_the_node_itself_never():
    shard_map = map_with(Shard(end_row=100, holders=(0, 1, 2), joining=(3,)), source="file:///origin")

    of_a, of_d = (wanted_shards(shard_map, node_id)[0].sources for node_id in "ad")

    assert (sorted(of_a[:-1]), of_a[-1]) == (["grpc://b:1", "grpc://c:1"], "file:///origin")
    assert (sorted(of_d[:-1]), of_d[-1]) == (["grpc://a:1", "grpc://b:1", "grpc://c:1"], "file:///origin")


def test_a_node_asks_different_holders_first_for_different_shards():
    shards = [Shard(end_row=10 * end, holders=(0, 1, 2), joining=(3,)) for end in range(1, 11)]

    firsts = {each.sources[0] for each in wanted_shards(map_with(*shards), "d")}

    assert firsts == {"grpc://a:1", "grpc://b:1", "grpc://c:1"}


def test_current_versions_come_first():
    shard_map = map_with(Shard(end_row=100, holders=(0,)))
    earlier_name = dataclasses.replace(shard_map.versions[KEY], version="a-pending-one")
    versions = {**shard_map.versions, earlier_name.key: earlier_name}

    wanted = wanted_shards(dataclasses.replace(shard_map, versions=versions), "a")

    assert [each.key.version for each in wanted] == ["v1", "a-pending-one"]
