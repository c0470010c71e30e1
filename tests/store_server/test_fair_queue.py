"""Lookups in turns: who comes first, and that nobody waits for ever."""

import asyncio

from store_server.services.fair_queue import FairQueue

LARGE, SMALL = 100, 1


def filled(*items):
    queue = FairQueue()
    for item, num_bytes in items:
        queue.put(item, num_bytes)
    return queue


async def test_what_is_equally_large_comes_in_the_order_it_came_in():
    queue = filled(*((number, LARGE) for number in range(5)))

    assert [await queue.get() for _ in range(5)] == [0, 1, 2, 3, 4]


async def test_a_small_one_overtakes_all_large_ones_that_wait():
    queue = filled(*((number, LARGE) for number in range(20)))
    first = await queue.get()
    queue.put("small", SMALL)

    assert (first, await queue.get()) == (0, "small")


async def test_a_large_one_gets_its_share_while_small_ones_come_without_end():
    queue = filled(("large", LARGE), ("small", SMALL))
    taken = []
    while not taken or taken[-1] != "large":
        taken.append(await queue.get())
        queue.put("small", SMALL)

    assert 100 <= len(taken) <= 2 * LARGE + 2  # half of the bytes were its own


async def test_who_waits_hears_of_the_next_item_and_of_the_end():
    queue = FairQueue()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put("item", 1)
    assert await waiting == "item"

    queue.put("last", 1)
    queue.close()
    assert await queue.get() == "last"
    assert await queue.get() is None
    ending = FairQueue()
    waiting = asyncio.create_task(ending.get())
    await asyncio.sleep(0)
    ending.close()
    assert await waiting is None
