"""A node that is not ready is asked before one that has failed this very fetch."""

import asyncio
import random

import numpy as np
import pytest
from support.fake_cluster import TABLE, FakeCluster, shard_map_of, sharded
from support.virtual_clock import run_virtually

from engram_client.cluster.replica_choice import Standing, choose
from engram_client.errors import TableDamaged, Unavailable


def test_of_a_node_that_failed_and_one_that_is_not_ready_the_latter_is_chosen():
    standing = [Standing(True, 0.0, 0.001), Standing(False, 0.0, 0.001)]

    chosen = {
        choose(
            {0: 10},
            holders=[(0, 1)],
            row_bytes=16,
            standing=standing.__getitem__,
            dice=random.Random(seed),
            avoided=(0,),
        )[0]
        for seed in range(50)
    }

    assert chosen == {1}


def test_rows_that_are_damaged_on_one_node_come_from_another_that_was_left_out():
    async def lose_blocks_beside_a_node_that_is_left_out():
        cluster = FakeCluster(shard_map_of(2, sharded([(0, 1)])))
        table = await cluster.client.get_table(TABLE, "", 1.0)
        for _ in range(20):
            cluster.client.nodes.leave_out(cluster.client.nodes[1])
            cluster.nodes[0].fails_with = [TableDamaged("a block")]
            await cluster.fetch_of(table, np.arange(50))
            await asyncio.sleep(1)

    run_virtually(lose_blocks_beside_a_node_that_is_left_out())


def test_a_fetch_with_a_long_time_limit_goes_on_to_its_end_while_nobody_answers():
    async def wait_for_long():
        cluster = FakeCluster(shard_map_of(1, sharded([(0,)])))
        table = await cluster.client.get_table(TABLE, "", 1.0)
        cluster.nodes[0].is_up = False
        with pytest.raises(Unavailable, match="gave up after 800 s"):
            await cluster.fetch_of(table, np.arange(10), timeout=800.0)

    run_virtually(wait_for_long())
