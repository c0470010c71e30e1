"""The parts of a fetch fail each by itself: the rounds and the failures of one change nothing for another."""

import asyncio

import numpy as np
import pytest
from support.fake_cluster import TABLE, FakeCluster, shard_map_of, sharded
from support.virtual_clock import run_virtually

from engram_client.errors import TableDamaged


def test_many_parts_that_fail_at_once_pause_no_longer_than_one():
    async def be_away_for_a_moment():
        cluster = FakeCluster(shard_map_of(16, sharded([(number,) for number in range(16)])))
        table = await cluster.client.get_table(TABLE, "", 1.0)
        loop = asyncio.get_running_loop()
        for node in cluster.nodes:
            node.is_up = False
            loop.call_later(0.05, setattr, node, "is_up", True)
        began = loop.time()
        await cluster.fetch_of(table, np.arange(1600))

        assert loop.time() < began + 0.2

    run_virtually(be_away_for_a_moment())


def test_rows_that_are_damaged_everywhere_are_told_although_other_nodes_are_away():
    async def damage_one_part_while_another_waits():
        cluster = FakeCluster(shard_map_of(4, sharded([(0, 1), (2, 3)])))
        table = await cluster.client.get_table(TABLE, "", 1.0)
        loop = asyncio.get_running_loop()
        for node in cluster.nodes[:2]:
            node.fails_with = [TableDamaged("a block")] * 50
        for node in cluster.nodes[2:]:
            node.is_up = False
        began = loop.time()
        with pytest.raises(TableDamaged):
            await cluster.fetch_of(table, np.arange(200))

        assert loop.time() < began + 1.0

    run_virtually(damage_one_part_while_another_waits())


def test_a_fetch_that_was_given_up_tells_the_last_failure_as_its_cause():
    async def find_nobody():
        cluster = FakeCluster(shard_map_of(1, sharded([(0,)])))
        table = await cluster.client.get_table(TABLE, "", 1.0)
        cluster.nodes[0].is_up = False
        with pytest.raises(Exception, match="gave up after 1 s") as caught:
            await cluster.fetch_of(table, np.arange(10), timeout=1.0)

        assert str(caught.value.__cause__) == "node 0 is down"

    run_virtually(find_nobody())
