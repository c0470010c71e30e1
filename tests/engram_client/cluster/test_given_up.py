"""A request that nobody waits for any more says how long its node takes at least, and not how long it takes."""

import asyncio

import numpy as np
from support.fake_cluster import TABLE, FakeCluster, shard_map_of, sharded
from support.virtual_clock import run_virtually

ALL = [(0, 1, 2)]
ROWS = np.arange(100)


async def give_up_a_fetch(cluster, table, seconds):
    fetching = asyncio.create_task(cluster.fetch_of(table, ROWS))
    await asyncio.sleep(seconds)
    fetching.cancel()
    await asyncio.wait((fetching,))


async def fetch_and_see_all_stay(cluster, table):
    for _ in range(100):
        await cluster.fetch_of(table, ROWS)
        assert all(cluster.client.nodes[number].health.ready for number in range(3))


def test_a_first_fetch_that_is_given_up_at_once_makes_nobody_look_slow():
    async def give_up_at_once():
        cluster = FakeCluster(shard_map_of(3, sharded(ALL)))
        for node in cluster.nodes:
            node.seconds = lambda: 0.01
        table = await cluster.client.get_table(TABLE, "", 1.0)

        await give_up_a_fetch(cluster, table, 0.00005)

        assert cluster.client.nodes.usual_unit_seconds >= 0.001
        await fetch_and_see_all_stay(cluster, table)

    run_virtually(give_up_at_once())


def test_fetches_that_are_given_up_after_nodes_became_slower_do_not_say_what_is_usual():
    async def give_up_when_all_are_slower():
        cluster = FakeCluster(shard_map_of(3, sharded(ALL)))
        table = await cluster.client.get_table(TABLE, "", 1.0)
        for _ in range(20):
            await cluster.fetch_of(table, ROWS)
        await asyncio.sleep(20)
        for node in cluster.nodes:
            node.seconds = lambda: 0.1

        for _ in range(6):
            await give_up_a_fetch(cluster, table, 0.004)

        await fetch_and_see_all_stay(cluster, table)

    run_virtually(give_up_when_all_are_slower())
