"""Nodes that are about to stop or to leave: spared while others have their rows, asked still where none has."""

import asyncio
import random
from dataclasses import replace

import numpy as np
from support.fake_cluster import TABLE, FakeCluster, shard_map_of, sharded
from support.virtual_clock import run_virtually

from engram_client.cluster.replica_choice import Standing, choose

ROWS = np.arange(100)


async def two_replicas():
    """A cluster of nodes 0 and 1 that both hold all rows, and have both been asked."""
    cluster = FakeCluster(shard_map_of(2, sharded([(0, 1)])))
    table = await cluster.client.get_table(TABLE, "", 1.0)
    while not all(node.lookups for node in cluster.nodes):
        await cluster.fetch_of(table, ROWS)
    return cluster, table


async def fetch_until_told(cluster, table, number):
    """Fetch until node `number` has been asked once more; what it answers says that it is draining."""
    told = len(cluster.nodes[number].lookups) + 1
    while len(cluster.nodes[number].lookups) < told:
        await cluster.fetch_of(table, ROWS)


def test_a_node_that_says_that_it_is_about_to_stop_is_not_asked_again_while_another_has_the_rows():
    async def announce_a_stop():
        cluster, table = await two_replicas()
        cluster.nodes[0].draining = True
        await fetch_until_told(cluster, table, 0)
        before = len(cluster.nodes[0].lookups)

        for _ in range(200):
            await cluster.fetch_of(table, ROWS)
        await asyncio.sleep(20)
        for _ in range(200):
            await cluster.fetch_of(table, ROWS)

        assert len(cluster.nodes[0].lookups) == before
        await cluster.client.close()

    run_virtually(announce_a_stop())


def test_a_node_that_says_with_its_map_that_it_is_about_to_stop_is_not_asked_for_rows():
    async def announce_a_stop_to_who_looks_for_a_map():
        cluster, table = await two_replicas()
        before = len(cluster.nodes[0].lookups)
        cluster.nodes[0].draining = True
        await cluster.client.look(1.0)

        for _ in range(50):
            await cluster.fetch_of(table, ROWS)

        assert len(cluster.nodes[0].lookups) == before
        await cluster.client.close()

    run_virtually(announce_a_stop_to_who_looks_for_a_map())


def test_a_node_that_is_about_to_stop_is_asked_for_no_rows_to_see_whether_it_is_well():
    async def try_it_while_it_waits_for_its_clients_to_go():
        cluster, _ = await two_replicas()
        cluster.nodes[0].draining = True
        await cluster.client.look(1.0)
        cluster.nodes[0].seconds = lambda: 0.5  # far slower than the other: it goes on being tried
        cluster.client.nodes.leave_out(cluster.client.nodes[0])
        before = len(cluster.nodes[0].lookups)

        await asyncio.sleep(60)

        assert len(cluster.nodes[0].lookups) == before
        await cluster.client.close()

    run_virtually(try_it_while_it_waits_for_its_clients_to_go())


def test_a_node_that_is_about_to_stop_gets_no_hedges():
    async def hesitate_beside_it():
        cluster, table = await two_replicas()
        for _ in range(200):  # so that it is known what is usual, and there is a budget
            await cluster.fetch_of(table, ROWS)
        cluster.nodes[0].draining = True
        await fetch_until_told(cluster, table, 0)
        before = len(cluster.nodes[0].lookups)

        cluster.nodes[1].seconds = lambda: 0.05
        await cluster.fetch_of(table, ROWS)

        assert len(cluster.nodes[0].lookups) == before
        await cluster.client.close()

    run_virtually(hesitate_beside_it())


def test_a_node_that_is_about_to_stop_is_asked_where_no_other_has_the_rows_or_all_others_fail():
    async def leave_nobody_else():
        cluster = FakeCluster(shard_map_of(2, sharded([(0,), (0, 1)])))
        cluster.nodes[0].draining = True
        for _ in range(50):
            await cluster.fetch(np.arange(200))
        with_another = len(cluster.nodes[0].lookups)
        cluster.nodes[1].is_up = False
        for _ in range(50):
            await cluster.fetch(np.arange(100, 200))

        assert with_another >= 50
        assert len(cluster.nodes[0].lookups) >= with_another + 50
        await cluster.client.close()

    run_virtually(leave_nobody_else())


def test_a_node_that_has_stopped_and_come_back_is_asked_again():
    async def restart():
        cluster, table = await two_replicas()
        cluster.nodes[0].draining = True
        await fetch_until_told(cluster, table, 0)
        cluster.nodes[0].is_up = False
        await asyncio.sleep(3)
        for _ in range(50):
            await cluster.fetch_of(table, ROWS)

        cluster.nodes[0].is_up, cluster.nodes[0].draining = True, False
        before = len(cluster.nodes[0].lookups)
        await asyncio.sleep(10)
        for _ in range(50):
            await cluster.fetch_of(table, ROWS)

        assert len(cluster.nodes[0].lookups) > before + 10
        await cluster.client.close()

    run_virtually(restart())


def test_a_node_that_is_back_before_anybody_saw_it_away_is_asked_again():
    async def restart_quickly():
        cluster, table = await two_replicas()
        cluster.nodes[0].draining = True
        await fetch_until_told(cluster, table, 0)
        before = len(cluster.nodes[0].lookups)

        cluster.nodes[0].draining = False
        await asyncio.sleep(1)
        for _ in range(50):
            await cluster.fetch_of(table, ROWS)

        assert len(cluster.nodes[0].lookups) > before + 10
        await cluster.client.close()

    run_virtually(restart_quickly())


def test_a_node_that_the_map_has_leaving_is_spared_until_the_map_says_otherwise():
    async def leave():
        cluster, table = await two_replicas()
        first = cluster.client.maps.newest
        leaving = replace(first.nodes[0], draining=True)
        cluster.spread(replace(first, epoch=2, nodes=(leaving, first.nodes[1])))
        await cluster.client.look(1.0)
        before = len(cluster.nodes[0].lookups)
        for _ in range(100):
            await cluster.fetch_of(table, ROWS)
        assert len(cluster.nodes[0].lookups) == before

        cluster.spread(replace(first, epoch=3))
        await cluster.client.look(1.0)
        for _ in range(50):
            await cluster.fetch_of(table, ROWS)
        assert len(cluster.nodes[0].lookups) > before + 10
        await cluster.client.close()

    run_virtually(leave())


def test_a_node_that_is_draining_comes_before_one_that_is_not_ready_and_that_before_one_that_has_failed():
    ready, draining = Standing(True, 1e6, 1.0), Standing(True, 0.0, 0.001, is_draining=True)
    not_ready, both = Standing(False, 0.0, 0.001), Standing(False, 0.0, 0.001, is_draining=True)

    def chosen(*standing, avoided=()):
        holders = [tuple(range(len(standing)))]
        return {
            choose(
                {0: 10},
                holders=holders,
                row_bytes=16,
                standing=standing.__getitem__,
                dice=random.Random(seed),
                avoided=avoided,
            )[0]
            for seed in range(50)
        }

    assert chosen(draining, ready) == {1}
    assert chosen(not_ready, draining) == {1}
    assert chosen(both, not_ready) == {1}
    assert chosen(ready, both, avoided=(0,)) == {1}
