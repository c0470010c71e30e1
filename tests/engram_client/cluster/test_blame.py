"""Who is asked again after a failure: only what failed is avoided, and only as long as there is a reason to."""

import asyncio

import numpy as np
import pytest
from support.fake_cluster import TABLE, FakeCluster, shard_map_of, sharded
from support.virtual_clock import run_virtually, seconds_of

from engram_client.cluster.hedging import HedgeSettings
from engram_client.errors import (
    EngramError,
    ForkedProcess,
    InvalidTableName,
    ProtocolError,
    RequestTooLarge,
    RowOutOfRange,
    TableDamaged,
    Unavailable,
    VersionNotFound,
)

FIRST, SECOND = np.arange(100), np.arange(100, 200)  # rows of the two shards
BOTH = np.arange(200)
_PAUSE_SECONDS = 0.01  # of a round in which nobody was left to ask


def test_a_node_that_holds_some_of_the_rows_by_a_newer_map_is_asked_for_those_at_once():
    async def move_a_shard():
        cluster = FakeCluster(shard_map_of(2, sharded([(0,), (0,)])))
        table = await cluster.client.get_table(TABLE, "", 1.0)
        cluster.spread(shard_map_of(2, sharded([(0,), (1,)]), epoch=2))

        assert await seconds_of(cluster.fetch_of(table, BOTH)) < _PAUSE_SECONDS
        assert [len(rows) for rows in cluster.nodes[0].lookups] == [200, 100]

    run_virtually(move_a_shard())


def test_a_node_that_refuses_rows_under_a_map_that_stays_is_not_asked_for_them_again():
    async def refuse_once():
        cluster = FakeCluster(shard_map_of(2, sharded([(0, 1)])))
        table = await cluster.client.get_table(TABLE, "", 1.0)
        cluster.nodes[0].fails_with = [VersionNotFound("it is not here yet")] * 20
        cluster.client.nodes[1].work_under_way += 100  # so that node 0 is asked first
        for _ in range(20):
            await cluster.fetch_of(table, FIRST)

        assert len(cluster.nodes[1].lookups) == 20

    run_virtually(refuse_once())


@pytest.mark.parametrize("seed", range(5))
def test_of_several_nodes_that_were_asked_as_a_hedge_only_the_one_that_failed_is_blamed(seed):
    async def let_a_request_and_half_of_its_hedge_fail():
        first = shard_map_of(4, sharded([(0, 1), (0, 2, 3)]))
        cluster = FakeCluster(first, settings=HedgeSettings(budget=1.0), seed=seed)
        table = await cluster.client.get_table(TABLE, "", 1.0)
        for _ in range(50):
            await cluster.fetch_of(table, BOTH)
        now = asyncio.get_running_loop().time
        ends = now() + 0.02
        for number in (0, 2):
            cluster.nodes[number].seconds = lambda: ends - now()
            cluster.nodes[number].fails_with = [Unavailable("it is going")]
        cluster.nodes[1].seconds = lambda: 0.019
        cluster.nodes[3].seconds = lambda: 0.001
        for number in (1, 2, 3):  # so that node 0 is asked for both shards
            cluster.client.nodes[number].work_under_way += 100 if number == 3 else 10
        await cluster.fetch_of(table, BOTH)

        assert not cluster.nodes[0].fails_with
        assert not cluster.nodes[2].fails_with
        assert [node.health.ready for node in map(cluster.client.nodes.__getitem__, range(4))] == [
            False,
            True,
            False,
            True,
        ]
        assert now() < ends + 0.019 + _PAUSE_SECONDS

    run_virtually(let_a_request_and_half_of_its_hedge_fail())


async def fetch_while_a_node_fails_with(error):
    cluster = FakeCluster(shard_map_of(2, sharded([(0, 1)])))
    table = await cluster.client.get_table(TABLE, "", 1.0)
    for _ in range(30):
        cluster.nodes[0].fails_with = [error] * 50
        await cluster.fetch_of(table, FIRST)
    return cluster.client.nodes[0].health.ready


@pytest.mark.parametrize("kind", [EngramError, ProtocolError, Unavailable])
def test_a_node_that_fails_with_anything_odd_costs_no_fetch_and_is_left_out(kind):
    assert not run_virtually(fetch_while_a_node_fails_with(kind("odd")))


@pytest.mark.parametrize("kind", [RequestTooLarge, RowOutOfRange, InvalidTableName, TableDamaged, VersionNotFound])
def test_a_node_that_refuses_what_another_gives_costs_no_fetch(kind):
    assert run_virtually(fetch_while_a_node_fails_with(kind("not this")))


@pytest.mark.parametrize(
    "kind", [EngramError, RequestTooLarge, RowOutOfRange, InvalidTableName, TableDamaged, ForkedProcess]
)
def test_what_all_replicas_say_is_raised_at_once(kind):
    async def fail_everywhere():
        cluster = FakeCluster(shard_map_of(2, sharded([(0, 1)])))
        table = await cluster.client.get_table(TABLE, "", 1.0)
        for node in cluster.nodes:
            node.fails_with = [kind("no")] * 50
        with pytest.raises(kind, match="^no$"):
            await cluster.fetch_of(table, FIRST)

        assert asyncio.get_running_loop().time() < 1.0

    run_virtually(fail_everywhere())


def test_what_this_process_did_wrong_is_no_fault_of_a_node():
    async def ask_after_a_fork():
        cluster = FakeCluster(shard_map_of(2, sharded([(0, 1)])))
        table = await cluster.client.get_table(TABLE, "", 1.0)
        for node in cluster.nodes:
            node.fails_with = [ForkedProcess("this process was forked")] * 50
        with pytest.raises(ForkedProcess):
            await cluster.fetch_of(table, FIRST)

        assert sum(len(node.lookups) for node in cluster.nodes) == 1
        assert all(cluster.client.nodes[number].health.ready for number in range(2))

    run_virtually(ask_after_a_fork())
