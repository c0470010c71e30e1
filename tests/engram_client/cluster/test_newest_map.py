"""Which map a client goes by, and what it says that the cluster has: nodes may lag behind each other."""

from dataclasses import replace

import numpy as np
import pytest
from support.fake_cluster import PAIRS, TABLE, FakeCluster, shard_map_of, sharded
from support.virtual_clock import virtually

from engram_client.errors import TableNotFound, VersionNotFound
from engram_store.shard_map import TableSet

ROWS = np.random.default_rng(0).integers(0, 400, 200)


def cluster_of():
    return FakeCluster(shard_map_of(4, sharded(PAIRS)))


@virtually
async def test_a_node_with_a_newer_map_makes_the_client_take_it():
    old = shard_map_of(4, sharded([(0,), (0,), (0,), (0,)]), epoch=3)
    cluster = FakeCluster(old)
    table = await cluster.client.get_table(TABLE, "v1", 1.0)
    cluster.spread(shard_map_of(4, sharded([(3,), (2,), (1,), (0,)]), epoch=4))

    await cluster.fetch_of(table, ROWS)

    assert cluster.client.maps.newest.epoch == 4
    assert all(node.lookups for node in cluster.nodes)


@virtually
async def test_a_node_that_knows_an_old_map_only_costs_no_fetch():
    cluster = cluster_of()
    cluster.nodes[2].shard_map = shard_map_of(4, sharded([(0, 1)] * 4), epoch=1)
    newer = shard_map_of(4, sharded(PAIRS), epoch=2)
    for number in (0, 1, 3):
        cluster.nodes[number].shard_map = newer

    for _ in range(20):
        await cluster.fetch(ROWS)

    assert cluster.client.maps.newest.epoch == 2


@virtually
async def test_a_map_goes_forward_only_and_never_to_another_cluster():
    cluster = FakeCluster(shard_map_of(2, sharded([(0, 1)]), epoch=5))
    older = shard_map_of(2, sharded([(0,)]), epoch=4)
    cluster.nodes[0].shard_map = older
    cluster.nodes[1].shard_map = replace(older, cluster="another", epoch=9)

    await cluster.client.look(1.0)

    assert (cluster.client.maps.newest.epoch, cluster.client.maps.newest.cluster) == (5, "fake")


@virtually
async def test_a_description_is_that_of_the_newest_map():
    cluster = cluster_of()
    assert (await cluster.client.get_table(TABLE, "", 1.0)).version == "v1"

    cluster.spread(shard_map_of(4, sharded(PAIRS), sharded(PAIRS, version="v2"), epoch=2, current="v2"))

    assert (await cluster.client.get_table(TABLE, "", 1.0)).version == "v2"
    assert [table.version for table in await cluster.client.list_tables(1.0)] == ["v2"]
    await cluster.fetch(ROWS, version="v1")
    await cluster.fetch(ROWS, version="v2")


@virtually
async def test_a_version_that_few_nodes_know_of_yet_is_found_before_it_is_said_that_there_is_none():
    holders = [tuple(range(8))] * 4
    cluster = FakeCluster(shard_map_of(8, sharded(holders), epoch=1))
    newer = shard_map_of(8, sharded(holders), sharded(holders, version="v2"), epoch=2, current="v2")
    for node in cluster.nodes[:2]:
        node.shard_map = newer

    assert (await cluster.client.get_table(TABLE, "v2", 1.0)).version == "v2"


@virtually
async def test_what_the_cluster_does_not_have_is_named():
    cluster = cluster_of()

    with pytest.raises(TableNotFound, match="cluster 'fake' has no table 'x'"):
        await cluster.client.get_table("x", "", 1.0)
    with pytest.raises(VersionNotFound, match="no version 'v9' of table 't'; current is v1"):
        await cluster.client.get_table(TABLE, "v9", 1.0)


@virtually
async def test_a_table_of_which_no_version_is_current_yet_is_said_to_be_published():
    cluster = cluster_of()
    known = shard_map_of(4, sharded(PAIRS), epoch=2)
    cluster.spread(replace(known, sets={TABLE: TableSet(name=TABLE, current={}, pending={TABLE: "v1"})}))

    with pytest.raises(VersionNotFound, match="no version of table 't' is current in cluster 'fake': one that"):
        await cluster.client.get_table(TABLE, "", 1.0)


@virtually
async def test_a_version_that_was_dropped_is_told_to_those_who_still_read_it():
    cluster = cluster_of()
    table = await cluster.client.get_table(TABLE, "", 1.0)
    cluster.spread(shard_map_of(4, sharded(PAIRS, version="v2"), epoch=2, current="v2"))

    with pytest.raises(VersionNotFound, match=r"no longer has version v1.*refresh"):
        await cluster.fetch_of(table, ROWS)
