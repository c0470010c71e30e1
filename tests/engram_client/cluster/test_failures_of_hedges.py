"""A request and its hedge that both fail: one failure is told, and the other is not left lying about."""

import asyncio
import gc

import numpy as np
import pytest
from support.fake_cluster import TABLE, FakeCluster, shard_map_of, sharded
from support.virtual_clock import run_virtually

from engram_client.cluster.hedging import HedgeSettings
from engram_client.errors import RowOutOfRange

ROWS = np.arange(100)


def test_where_a_request_and_its_hedge_fail_at_once_no_failure_is_left_over():
    left_over = []

    async def fail_twice_at_once():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: left_over.append(context))
        cluster = FakeCluster(shard_map_of(2, sharded([(0, 1)])), settings=HedgeSettings(budget=1.0))
        table = await cluster.client.get_table(TABLE, "", 1.0)
        for _ in range(50):
            await cluster.fetch_of(table, ROWS)
        ends = loop.time() + 0.02
        for node in cluster.nodes:
            node.seconds = lambda: ends - loop.time()
            node.fails_with = [RowOutOfRange("row 100")]
        with pytest.raises(RowOutOfRange):
            await cluster.fetch_of(table, ROWS)
        assert [len(node.lookups) for node in cluster.nodes if node.fails_with] == []
        gc.collect()

    run_virtually(fail_twice_at_once())

    assert left_over == []
