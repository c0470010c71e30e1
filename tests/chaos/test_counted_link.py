"""What is counted of the requests to nodes, on one that answers, fails or waits as it is told."""

import asyncio
import contextlib
import dataclasses

import numpy as np
import pytest
from chaos.counted_link import Count, CountedLink
from support.fake_cluster import ROW_BYTES, FakeClusterNode, shard_map_of, sharded

from engram_client.errors import Unavailable
from engram_client.table_info import TableInfo

VERSION = sharded([(0,)])
TABLE = TableInfo(
    name=VERSION.table,
    version=VERSION.version,
    num_rows=VERSION.num_rows,
    row_bytes=ROW_BYTES,
    row_format="",
    fingerprint="",
    backend="",
    max_rows_per_lookup=1000,
)
SOME, OTHERS = np.array([0, 2]), np.array([1, 3])


class Asker:
    """Asks a node for rows of one fetch, whose buffer has four."""

    def __init__(self):
        self.node = FakeClusterNode(0, shard_map_of(1, VERSION))
        self.count = Count()
        self.out = np.zeros((4, ROW_BYTES), np.uint8)
        self._link = CountedLink(self.node, "node-0", self.count)

    async def ask(self, places, out=None):
        await self._link.fetch(TABLE, places, self.out if out is None else out, 1.0, places=places)

    def counted(self):
        return {name: number for name, number in dataclasses.asdict(self.count.asked).items() if number}


@pytest.fixture
async def asker():
    asker = Asker()
    with asker.count.fetch_into(asker.out):
        yield asker


async def test_requests_for_different_rows_of_a_fetch_are_all_first_ones(asker):
    await asyncio.gather(asker.ask(SOME), asker.ask(OTHERS))

    assert asker.counted() == {"first": 2}
    assert asker.count.fetches == {"node-0": 2}


async def test_a_request_for_rows_that_are_being_asked_for_is_a_hedge(asker):
    await asyncio.gather(asker.ask(SOME), asker.ask(SOME))

    assert asker.counted() == {"first": 1, "hedges": 1}


@pytest.mark.parametrize("ending", ["failed", "given up"])
async def test_a_request_for_rows_whose_request_is_over_without_them_comes_after_a_failure(asker, ending):
    asker.node.is_up, asker.node.hangs = ending != "failed", ending == "given up"
    with contextlib.suppress(Unavailable, TimeoutError):
        async with asyncio.timeout(0.01):
            await asker.ask(SOME)
    asker.node.is_up, asker.node.hangs = True, False

    await asker.ask(SOME)

    assert asker.counted() == {"first": 1, "after_failures": 1}


async def test_what_goes_into_no_buffer_of_a_fetch_is_a_trial_whether_it_fails_or_not(asker):
    await asker.ask(SOME, out=np.zeros((4, ROW_BYTES), np.uint8))
    asker.node.is_up = False
    with pytest.raises(Unavailable):
        await asker.ask(SOME, out=np.zeros((4, ROW_BYTES), np.uint8))

    assert asker.counted() == {"trials": 2}
