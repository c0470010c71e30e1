"""A node that was left out returns when it answers, though what it was asked for last may be gone by then."""

import asyncio

import numpy as np
import pytest
from support.fake_cluster import TABLE, FakeCluster, shard_map_of, sharded
from support.virtual_clock import run_virtually

ROWS = np.arange(200)


@pytest.mark.parametrize(
    "versions",
    [[sharded([(0,), (0, 1)])], [sharded([(0, 1), (0, 1)], version="v2")]],
    ids=["rows that moved", "a version that was dropped"],
)
def test_a_node_returns_that_no_longer_has_what_it_was_asked_for_last(versions):
    async def lose_a_node_during_the_change():
        cluster = FakeCluster(shard_map_of(2, sharded([(0, 1), (0,)])))
        table = await cluster.client.get_table(TABLE, "", 1.0)
        cluster.nodes[1].is_up = False
        while cluster.client.nodes[1].health.ready:
            await cluster.fetch_of(table, ROWS[:100])

        newer = shard_map_of(2, *versions, epoch=2, current=versions[0].version)
        cluster.spread(newer)
        cluster.nodes[1].is_up = True
        await cluster.client.look(1.0)
        await asyncio.sleep(5)

        assert cluster.client.nodes[1].health.ready

    run_virtually(lose_a_node_during_the_change())


def test_nodes_that_all_become_slower_are_all_asked_again_soon():
    async def slow_down_all():
        cluster = FakeCluster(shard_map_of(4, sharded([(0, 1), (1, 2), (2, 3), (3, 0)])))
        for _ in range(50):
            await cluster.fetch(np.arange(400))

        for node in cluster.nodes:
            node.seconds = lambda: 0.03
        for _ in range(50):
            await cluster.fetch(np.arange(400))
        await asyncio.sleep(5)

        assert [cluster.client.nodes[number].health.ready for number in range(4)] == [True] * 4

    run_virtually(slow_down_all())


def test_what_was_remembered_long_ago_does_not_say_what_is_usual():
    async def come_back_to_slower_nodes():
        cluster = FakeCluster(shard_map_of(2, sharded([(0,), (1,)])))
        table = await cluster.client.get_table(TABLE, "", 1.0)
        for _ in range(20):
            await cluster.fetch_of(table, ROWS)
        await asyncio.sleep(600)
        for node in cluster.nodes:
            node.seconds = lambda: 0.02
        for _ in range(10):  # of one node alone, the other was last heard of when both were quick
            await cluster.fetch_of(table, ROWS[:100])
            await asyncio.sleep(0.5)

        assert cluster.client.nodes.usual_unit_seconds > 0.01
        assert cluster.client.nodes[0].health.ready

    run_virtually(come_back_to_slower_nodes())


def test_a_slow_node_is_not_measured_by_itself_while_nobody_else_is_asked():
    async def leave_out_a_slow_node_and_fall_idle():
        cluster = FakeCluster(shard_map_of(2, sharded([(0, 1)])))
        table = await cluster.client.get_table(TABLE, "", 1.0)
        for _ in range(20):
            await cluster.fetch_of(table, ROWS[:50])
        cluster.nodes[1].seconds = lambda: 0.2
        cluster.client.nodes.leave_out(cluster.client.nodes[1])
        await asyncio.sleep(600)

        assert not cluster.client.nodes[1].health.ready

    run_virtually(leave_out_a_slow_node_and_fall_idle())


def test_a_node_that_returns_is_asked_for_little_at_first_and_soon_for_its_share():
    async def bring_a_node_back():
        cluster = FakeCluster(shard_map_of(2, sharded([(0, 1)])))
        table = await cluster.client.get_table(TABLE, "", 1.0)

        async def lookups_of_a_burst():
            before = len(cluster.nodes[1].lookups)
            await asyncio.gather(*(cluster.fetch_of(table, ROWS[:50]) for _ in range(60)))
            return len(cluster.nodes[1].lookups) - before

        usual = await lookups_of_a_burst()
        cluster.client.nodes.leave_out(cluster.client.nodes[1])
        await asyncio.sleep(5)
        assert cluster.client.nodes[1].health.ready
        bursts = [await lookups_of_a_burst() for _ in range(10)]

        assert usual > 15
        assert bursts[0] <= 2
        assert bursts[1] <= 4
        assert bursts[-1] > 15

    run_virtually(bring_a_node_back())


def test_a_node_that_returns_is_asked_for_everything_where_there_is_no_other():
    async def lose_the_other():
        cluster = FakeCluster(shard_map_of(2, sharded([(0, 1)])))
        table = await cluster.client.get_table(TABLE, "", 1.0)
        await cluster.fetch_of(table, ROWS[:50])
        cluster.client.nodes.leave_out(cluster.client.nodes[1])
        await asyncio.sleep(5)
        cluster.nodes[0].is_up = False

        await asyncio.gather(*(cluster.fetch_of(table, ROWS[:50], timeout=0.1) for _ in range(60)))

    run_virtually(lose_the_other())


def test_of_a_large_fetch_only_a_few_rows_of_its_own_are_remembered_for_a_trial():
    async def fetch_much():
        cluster = FakeCluster(shard_map_of(1, sharded([(0,)], shard_rows=1_000_000)))
        table = await cluster.client.get_table(TABLE, "", 1.0)
        rows = np.arange(1_000_000)
        await cluster.fetch_of(table, rows)
        _, remembered = cluster.client.nodes[0].last_asked

        assert 0 < remembered.nbytes < rows.nbytes / 10
        assert not np.shares_memory(remembered, rows)

    run_virtually(fetch_much())
