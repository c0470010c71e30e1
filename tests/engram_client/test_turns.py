"""Fetches share a stream: none sends all of its pieces at once, and what was cancelled is not sent."""

import asyncio

import numpy as np
import pytest
from support.fake_node import FakeNode
from support.rows import random_rows

import engram_client

ROWS = random_rows(16, 256 << 10)  # eight to a piece
SMALL, LARGE = np.array([0]), np.resize(np.arange(1, 16), 160)


class HoldingNode(FakeNode):
    """Answers SMALL and keeps everything else; `asked` tells that there is something to keep."""

    def __init__(self):
        super().__init__(ROWS, self.hold)
        self.asked = asyncio.Event()
        self.released = asyncio.Event()

    async def hold(self, request, send):
        if request.rows[0] != 0:
            self.asked.set()
            await self.released.wait()
        await self.answer_rightly(request, send)

    def rows_asked(self):
        return [list(request.rows) for request in self.requests]


async def test_a_small_fetch_does_not_wait_for_a_large_one_that_was_there_before():
    node = HoldingNode()
    async with node.listening() as url, engram_client.connect(url) as store:
        table = await store.table("t")
        large = table.prefetch(LARGE)
        await node.asked.wait()

        assert np.array_equal(await table.fetch(SMALL), ROWS[SMALL])

        assert sum(map(len, node.rows_asked())) < len(LARGE) / 5
        node.released.set()
        assert np.array_equal(await large, ROWS[LARGE])


async def test_what_a_large_fetch_has_not_sent_when_it_is_cancelled_is_never_sent():
    node = HoldingNode()
    async with node.listening() as url, engram_client.connect(url) as store:
        table = await store.table("t")
        large = table.prefetch(LARGE)
        await node.asked.wait()

        large.cancel()
        node.released.set()
        for _ in range(10):
            await table.fetch(SMALL)

    assert sum(len(rows) for rows in node.rows_asked() if rows != [0]) < len(LARGE) / 5


async def test_a_fetch_that_is_cancelled_before_its_turn_is_not_sent():
    node = FakeNode(ROWS)
    async with node.listening() as url, engram_client.connect(url) as store:
        table = await store.table("t")
        await table.fetch([0])
        before, pending = table.prefetch([1]), table.prefetch([2])
        await asyncio.sleep(0)  # both run: the first is being written, the second waits for the end of that

        pending.cancel()
        await table.fetch([3])
        await before

    assert [list(request.rows) for request in node.requests] == [[0], [1], [3]]


@pytest.mark.parametrize(("num_rows", "pieces"), [(8, [8]), (11, [11]), (12, [6, 6]), (17, [9, 8]), (26, [9, 9, 8])])
async def test_a_fetch_is_cut_into_pieces_of_about_two_megabytes_and_of_one_size(num_rows, pieces):
    node = FakeNode(ROWS)
    async with node.listening() as url, engram_client.connect(url) as store:
        await (await store.table("t")).fetch(np.zeros(num_rows, int))

    assert [len(request.rows) for request in node.requests] == pieces


async def test_large_fetches_take_turns():
    node = FakeNode(ROWS)
    async with node.listening() as url, engram_client.connect(url) as store:
        table = await store.table("t")
        ones, twos = table.prefetch(np.ones(24, int)), table.prefetch(np.full(24, 2))

        assert np.array_equal(await ones, ROWS[np.ones(24, int)])
        assert np.array_equal(await twos, ROWS[np.full(24, 2)])

    assert [request.rows[0] for request in node.requests[:4]] == [1, 2, 1, 2]
