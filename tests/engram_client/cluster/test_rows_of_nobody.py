"""Rows that by the shard map no node holds: of a version that is being copied, or of an old one."""

import asyncio

import numpy as np
import pytest
from support.fake_cluster import TABLE, FakeCluster, shard_map_of, sharded
from support.virtual_clock import run_virtually

from engram_client.errors import Unavailable

HELD = sharded([(0,), (0,)])


def map_with(*holders, epoch=1):
    """The map with another version that is not current."""
    return shard_map_of(1, HELD, sharded(list(holders), version="v2"), epoch=epoch)


def test_rows_that_nobody_holds_are_waited_for_until_the_time_limit():
    async def wait_in_vain():
        cluster = FakeCluster(map_with((0,), ()))
        table = await cluster.client.get_table(TABLE, "v2", 1.0)
        await cluster.fetch_of(table, np.arange(100))
        with pytest.raises(Unavailable, match="gave up after 3 s; the last failure was: nobody holds 50 of the rows"):
            await cluster.fetch_of(table, np.arange(90, 150), timeout=3.0)

    run_virtually(wait_in_vain())


def test_rows_come_as_soon_as_a_newer_map_says_who_holds_them():
    async def wait_for_a_holder():
        cluster = FakeCluster(map_with((), ()))
        table = await cluster.client.get_table(TABLE, "v2", 1.0)
        newer = map_with((0,), (), epoch=2)
        asyncio.get_running_loop().call_later(1.0, cluster.spread, newer)
        await cluster.fetch_of(table, np.arange(50), timeout=10.0)

        assert asyncio.get_running_loop().time() < 3.0

    run_virtually(wait_for_a_holder())
