"""A fetch from many nodes: merged rightly, whatever becomes of them. On a virtual clock, where waits cost nothing."""

import asyncio
import random
from dataclasses import replace

import numpy as np
import pytest
from support.fake_cluster import PAIRS, ROW_BYTES, TABLE, FakeCluster, rows_of, shard_map_of, sharded
from support.virtual_clock import seconds_of, virtually

from engram_client.cluster.hedging import HedgeSettings
from engram_client.errors import (
    ProtocolError,
    RowOutOfRange,
    StoreClosed,
    TableDamaged,
    TimeLimitExceeded,
    Unavailable,
)

ROWS = np.random.default_rng(0).integers(0, 400, 200)


def cluster_of(holders=PAIRS, num_nodes=4, **options):
    return FakeCluster(shard_map_of(num_nodes, sharded(holders)), **options)


def lookups(cluster):
    return [len(node.lookups) for node in cluster.nodes]


@virtually
async def test_rows_of_all_nodes_come_to_their_places():
    cluster = cluster_of([(0,), (1,), (2,), (3,)])

    await cluster.fetch(ROWS)

    assert lookups(cluster) == [1, 1, 1, 1]


@virtually
async def test_a_fetch_of_one_row_asks_one_node():
    cluster = cluster_of()

    await cluster.fetch(np.array([399]))

    assert sum(lookups(cluster)) == 1


@virtually
async def test_fetches_that_begin_at_the_same_moment_are_spread():
    cluster = cluster_of([(0, 1)], 2)
    table = await cluster.client.get_table(TABLE, "v1", 1.0)

    await asyncio.gather(*(cluster.fetch_of(table, np.arange(50)) for _ in range(20)))

    assert max(lookups(cluster)) <= 15
    assert [node.work_under_way for node in map(cluster.client.nodes.__getitem__, range(2))] == [0.0, 0.0]


@virtually
async def test_a_node_that_is_down_costs_no_fetch_and_is_asked_no_more():
    cluster = cluster_of()
    cluster.nodes[1].is_up = False

    for _ in range(20):
        await cluster.fetch(ROWS)

    assert len(cluster.nodes[1].lookups) <= 2 + 10  # the first, and trials in the background


@virtually
async def test_rows_that_are_asked_for_again_are_counted_request_by_request():
    cluster = cluster_of([(0, 1)], 2, settings=HedgeSettings(budget=0.0))
    table = await cluster.client.get_table(TABLE, "v1", 1.0)
    await cluster.fetch_of(table, ROWS % 100)
    assert cluster.client.retries.after_failures == 0

    cluster.nodes[0].is_up = cluster.nodes[1].is_up = False
    before = cluster.client.hedges.requests  # without trials of nodes that were left out
    with pytest.raises(Unavailable):
        await cluster.fetch_of(table, ROWS % 100, 0.5)

    assert cluster.client.retries.after_failures == cluster.client.hedges.requests - before - 1 > 0
    assert cluster.client.retries.after_refusals == 0


@virtually
async def test_a_node_that_comes_back_is_asked_again():
    cluster = cluster_of()
    cluster.nodes[1].is_up = False
    await cluster.fetch(ROWS)
    cluster.nodes[1].is_up = True
    await asyncio.sleep(60)
    before = len(cluster.nodes[1].lookups)

    for _ in range(20):
        await cluster.fetch(ROWS)

    assert len(cluster.nodes[1].lookups) > before


@virtually
async def test_a_node_that_hangs_costs_the_first_fetches_some_patience_and_the_next_nothing():
    cluster = cluster_of(settings=HedgeSettings(budget=0.0))
    table = await cluster.client.get_table(TABLE, "v1", 1.0)
    for _ in range(30):
        await cluster.fetch_of(table, ROWS)
    cluster.nodes[2].hangs = True

    first = [await seconds_of(cluster.fetch_of(table, ROWS)) for _ in range(10)]
    later = [await seconds_of(cluster.fetch_of(table, ROWS)) for _ in range(20)]

    assert 0.1 < max(first) < 0.2
    assert max(later) < 0.01


@virtually
async def test_before_anything_is_known_a_node_that_hangs_is_given_up_in_time_for_another():
    cluster = cluster_of()
    cluster.nodes[2].hangs = True

    assert await seconds_of(cluster.fetch(ROWS, timeout=10.0)) < 5.0


@virtually
async def test_while_all_replicas_of_a_row_are_down_it_is_tried_until_the_time_limit():
    cluster = cluster_of()
    await cluster.fetch(ROWS)
    cluster.nodes[0].is_up = cluster.nodes[1].is_up = False
    table = await cluster.client.get_table(TABLE, "v1", 1.0)

    async def fail():
        with pytest.raises(Unavailable, match=r"gave up after 3 s; the last failure was: node [01] is down"):
            await cluster.fetch_of(table, ROWS, timeout=3.0)

    assert 2.0 < await seconds_of(fail()) <= 3.01


@virtually
async def test_a_replica_that_comes_back_within_the_time_limit_saves_the_fetch():
    cluster = cluster_of()
    table = await cluster.client.get_table(TABLE, "v1", 1.0)
    cluster.nodes[0].is_up = cluster.nodes[1].is_up = False
    fetching = asyncio.create_task(cluster.fetch_of(table, ROWS, timeout=10.0))
    await asyncio.sleep(3)
    assert not fetching.done()

    cluster.nodes[1].is_up = True

    await fetching


@virtually
async def test_where_nobody_else_has_the_rows_a_silent_node_is_waited_for_until_the_time_limit():
    cluster = cluster_of([(0,)], 1)
    table = await cluster.client.get_table(TABLE, "v1", 1.0)
    cluster.nodes[0].hangs = True

    with pytest.raises(TimeLimitExceeded, match="gave up after 5 s"):
        await cluster.fetch_of(table, np.arange(10), timeout=5.0)

    assert asyncio.get_running_loop().time() <= 6.0


@virtually
async def test_replies_that_are_now_and_then_slow_are_overtaken_within_the_budget():
    def slowed(dice):
        return lambda: 0.050 if dice.random() < 0.03 else 0.001 + dice.random() * 0.0005

    async def p99(budget):
        cluster = cluster_of([(0, 1)], 2, settings=HedgeSettings(budget=budget))
        for number, node in enumerate(cluster.nodes):  # both: to prefer the other is of no use
            node.seconds = slowed(random.Random(number))
        table = await cluster.client.get_table(TABLE, "v1", 1.0)

        async def one_after_the_other():
            return [await seconds_of(cluster.fetch_of(table, np.arange(50))) for _ in range(150)]

        took = await asyncio.gather(*(one_after_the_other() for _ in range(8)))
        return np.quantile([each[50:] for each in took], 0.99), cluster.client.hedges

    plain, none_sent = await p99(0.0)
    hedged, sent = await p99(0.05)

    assert hedged < plain / 3
    assert none_sent.hedges == 0
    assert 0 < sent.hedges <= 0.05 * sent.requests


@virtually
async def test_what_loses_to_a_hedge_writes_nothing_afterwards():
    cluster = cluster_of([(0, 1)], 2, settings=HedgeSettings(budget=1.0))
    table = await cluster.client.get_table(TABLE, "v1", 1.0)
    for _ in range(50):
        await cluster.fetch_of(table, np.arange(50))
    cluster.nodes[0].seconds = lambda: 0.02
    out = np.zeros((50, ROW_BYTES), np.uint8)

    for _ in range(20):
        await cluster.client.fetch(table, np.arange(50), out, 1.0)
        assert np.array_equal(out, rows_of("v1", np.arange(50)))
        out[:] = 0
        await asyncio.sleep(1)
        assert not out.any()
    assert cluster.client.hedges.hedges > 0


@virtually
async def test_a_cancelled_fetch_writes_nothing_afterwards():
    cluster = cluster_of()
    table = await cluster.client.get_table(TABLE, "v1", 1.0)
    out = np.zeros((len(ROWS), ROW_BYTES), np.uint8)
    fetching = asyncio.create_task(cluster.client.fetch(table, ROWS, out, 1.0))
    await asyncio.sleep(0.0005)

    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching

    await asyncio.sleep(1)
    assert not out.any()


@virtually
async def test_a_node_far_slower_than_others_is_left_out_and_returns_when_it_is_as_quick():
    cluster = cluster_of(settings=HedgeSettings(budget=0.0, shortest_patience_seconds=1.0))
    table = await cluster.client.get_table(TABLE, "v1", 1.0)
    for _ in range(50):
        await cluster.fetch_of(table, ROWS)
    cluster.nodes[3].seconds = lambda: 0.2
    for _ in range(20):
        await cluster.fetch_of(table, ROWS)

    while_slow = [await seconds_of(cluster.fetch_of(table, ROWS)) for _ in range(100)]
    cluster.nodes[3].seconds = lambda: 0.001
    await asyncio.sleep(120)
    before = len(cluster.nodes[3].lookups)
    for _ in range(40):
        await cluster.fetch_of(table, ROWS)

    assert max(while_slow) < 0.01
    assert len(cluster.nodes[3].lookups) > before + 5


@virtually
async def test_a_node_that_loses_to_every_hedge_is_left_out_though_nobody_waits_for_its_answers():
    cluster = cluster_of([(0, 1)], 2, settings=HedgeSettings(budget=1.0))
    table = await cluster.client.get_table(TABLE, "v1", 1.0)
    for _ in range(100):
        await cluster.fetch_of(table, np.arange(50))
    cluster.nodes[0].seconds = lambda: 0.2
    for _ in range(10):
        await asyncio.gather(*(cluster.fetch_of(table, np.arange(50)) for _ in range(8)))
    hedges = cluster.client.hedges.hedges
    for _ in range(20):
        await asyncio.sleep(3)
        await asyncio.gather(*(cluster.fetch_of(table, np.arange(50)) for _ in range(8)))

    assert cluster.client.hedges.hedges == hedges


@virtually
async def test_rows_that_are_damaged_on_one_node_come_from_another():
    cluster = cluster_of([(0, 1)], 2)
    cluster.nodes[0].fails_with = [TableDamaged("a block")] * 50

    for _ in range(20):
        await cluster.fetch(np.arange(50))

    cluster.nodes[1].fails_with = [TableDamaged("a block")] * 50
    with pytest.raises(TableDamaged):
        await cluster.fetch(np.arange(50))
    assert asyncio.get_running_loop().time() < 1.0


@virtually
async def test_a_node_that_breaks_the_protocol_is_left_out():
    cluster = cluster_of([(0, 1)], 2)
    cluster.nodes[0].fails_with = [ProtocolError("rows of another version")] * 5

    for _ in range(20):
        await cluster.fetch(np.arange(50))

    assert len(cluster.nodes[0].fails_with) == 4  # it was asked once
    assert not cluster.client.nodes[0].health.ready


@virtually
async def test_what_is_wrong_with_the_fetch_itself_is_raised_at_once():
    cluster = cluster_of([(0, 1)], 2)
    for node in cluster.nodes:
        node.fails_with = [RowOutOfRange("row 50")]

    with pytest.raises(RowOutOfRange):
        await cluster.fetch(np.arange(50))


@virtually
async def test_a_node_at_another_address_is_linked_anew():
    cluster = cluster_of([(0,)], 2)
    await cluster.fetch(np.arange(50))
    nodes = cluster.nodes[0].shard_map.nodes
    moved = replace(
        cluster.nodes[0].shard_map,
        epoch=2,
        nodes=(replace(nodes[0], address="node-1"), replace(nodes[1], address="node-0")),
    )
    cluster.spread(moved)
    cluster.nodes[1].number, cluster.nodes[0].number = 0, 1

    await cluster.fetch(np.arange(50))

    assert lookups(cluster) == [1, 1]


@virtually
async def test_a_closed_client_says_so():
    cluster = cluster_of()
    table = await cluster.client.get_table(TABLE, "", 1.0)

    await cluster.client.close()

    with pytest.raises(StoreClosed):
        await cluster.fetch_of(table, ROWS)
    with pytest.raises(StoreClosed):
        await cluster.client.get_table(TABLE, "", 1.0)
