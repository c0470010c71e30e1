"""One stream against a client that a test scripts: what is begun, in which order, and how much of it at once."""

import asyncio

import numpy as np

from engram_store.codec import Request
from store_server.services.reply_stream import ReplyStream

LARGE, SMALL = 8192, 16


class ScriptedContext:
    """Gives messages, the number of rows as text; replies are taken once `reading` is set."""

    def __init__(self, *sizes):
        self.sizes = list(sizes)
        self.all_read = asyncio.Event()
        self.reading = asyncio.Event()
        self.replies = []

    async def read(self):
        await asyncio.sleep(0)
        if self.sizes:
            return str(self.sizes.pop(0)).encode()
        self.all_read.set()
        await self.reading.wait()
        return None

    async def write(self, reply):
        await self.reading.wait()
        self.replies.append(reply)


def decode(message):
    return Request(1, "t", "v", np.zeros(int(message), np.int64))


def reply_to(request):
    return str(request.rows.size).encode()


async def not_at_all(request):
    raise AssertionError("answered at once")


async def test_a_small_lookup_waits_for_no_more_than_a_few_pieces_of_a_large_fetch_before_it():
    context = ScriptedContext(*[LARGE] * 40, SMALL)
    running = asyncio.create_task(ReplyStream(context, decode, reply_to, not_at_all).run())
    await context.all_read.wait()
    context.reading.set()
    await running

    assert len(context.replies) == 41
    assert context.replies.index(b"16") <= 6


async def test_a_small_cold_lookup_waits_for_no_more_than_the_pieces_that_are_being_gathered():
    context, begun, may_end = ScriptedContext(*[LARGE] * 40, SMALL), [], asyncio.Event()

    async def answer(request):
        begun.append(request.rows.size)
        await may_end.wait()
        return reply_to(request)

    running = asyncio.create_task(ReplyStream(context, decode, lambda _: None, answer).run())
    await context.all_read.wait()
    begun_at_once = len(begun)
    may_end.set()
    context.reading.set()
    await running

    assert begun_at_once == 4
    assert len(context.replies) == 41
    assert begun.index(SMALL) <= 5
