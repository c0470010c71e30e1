"""A node that refuses a version is spared it for a while: others that have it are asked first."""

import asyncio

import numpy as np
import pytest
from support.fake_cluster import TABLE, FakeCluster, shard_map_of, sharded
from support.virtual_clock import run_virtually

from engram_client.cluster.refusals import REMEMBER_SECONDS, Refusals
from engram_client.errors import Overloaded, TableDamaged, VersionNotFound
from engram_store.shard_map import VersionKey

ROWS = np.arange(50)
VERSION = VersionKey("t", "v1")


async def refused_cluster(refusals):
    cluster = FakeCluster(shard_map_of(2, sharded([(0, 1)])))
    table = await cluster.client.get_table(TABLE, "", 1.0)
    cluster.nodes[0].fails_with = [refusals("it is not here")] * 1000
    return cluster, table


@pytest.mark.parametrize("at_once", [1, 8])
@pytest.mark.parametrize("kind", [VersionNotFound, TableDamaged])
def test_a_node_that_refuses_is_asked_for_little_of_what_another_gives(kind, at_once):
    async def fetch_many():
        cluster, table = await refused_cluster(kind)
        for _ in range(200):
            await asyncio.gather(*(cluster.fetch_of(table, ROWS) for _ in range(at_once)))

        assert 1 <= len(cluster.nodes[0].lookups) <= at_once

    run_virtually(fetch_many())


@pytest.mark.parametrize("changes", ["time", "epoch"])
def test_a_node_that_has_refused_is_asked_again_after_a_while_and_by_a_newer_map(changes):
    async def change():
        cluster, table = await refused_cluster(VersionNotFound)
        for _ in range(20):
            await cluster.fetch_of(table, ROWS)
        before = len(cluster.nodes[0].lookups)
        if changes == "time":
            await asyncio.sleep(REMEMBER_SECONDS)
        else:
            cluster.spread(shard_map_of(2, sharded([(0, 1)]), epoch=2))
            await cluster.client.look(1.0)
        for _ in range(20):
            await cluster.fetch_of(table, ROWS)

        assert len(cluster.nodes[0].lookups) > before

    run_virtually(change())


def test_another_version_is_not_spared():
    refusals = Refusals()

    refusals.note(VERSION, 1, 0.0)

    assert refusals.include(VERSION, 1, 0.0)
    assert not refusals.include(VersionKey("t", "v2"), 1, 0.0)


def test_of_very_many_versions_the_latest_refusals_are_remembered():
    refusals = Refusals()
    versions = [VersionKey("t", f"v{number}") for number in range(1000)]

    for version in versions:
        refusals.note(version, 1, 0.0)

    remembered = [version for version in versions if refusals.include(version, 1, 0.0)]
    assert remembered == versions[-len(remembered) :]
    assert 0 < len(remembered) < 100


def test_a_replica_that_has_too_much_to_do_is_not_taken_for_one_that_is_gone():
    async def fetch_many():
        cluster, table = await refused_cluster(Overloaded)
        for _ in range(200):
            await cluster.fetch_of(table, ROWS)

        assert len(cluster.nodes[0].lookups) > 50

    run_virtually(fetch_many())


def test_where_all_replicas_have_too_much_to_do_a_fetch_waits_and_ends_by_saying_so():
    async def fetch():
        cluster, table = await refused_cluster(Overloaded)
        cluster.nodes[1].fails_with = [Overloaded("it is not here")] * 1000
        with pytest.raises(Overloaded, match="gave up after 5 s; it is not here"):
            await cluster.fetch_of(table, ROWS, timeout=5.0)

        assert sum(len(node.lookups) for node in cluster.nodes) < 30

    run_virtually(fetch())
