"""One stream against a client that a test scripts: what is begun, in which order, and how much of it at once."""

import asyncio

import numpy as np

from engram_store.codec import Request
from store_server.services.reply_stream import ReplyStream

LARGE, SMALL = 8192, 16


class ScriptedContext:
    """Gives messages, the number of rows as text; replies are taken once `reading` is set.

    A message may be longer than that text: bytes are given as they are.
    """

    def __init__(self, *sizes):
        self.sizes = list(sizes)
        self.num_read = 0
        self.all_read = asyncio.Event()
        self.reading = asyncio.Event()
        self.replies = []

    async def read(self):
        await asyncio.sleep(0)
        if self.sizes:
            self.num_read += 1
            message = self.sizes.pop(0)
            return message if isinstance(message, bytes) else str(message).encode()
        self.all_read.set()
        await self.reading.wait()
        return None

    async def write(self, reply):
        await self.reading.wait()
        self.replies.append(reply)


def decode(message):
    return Request(1, "t", "v", np.zeros(int(message), np.int64))


def row_bytes(request):
    return request.rows.size * 128  # a large lookup's reply is a MiB


def stream(context, answer_at_once, answer, decode=decode, reply_bytes=row_bytes):
    return ReplyStream(context, decode, answer_at_once, answer, reply_bytes, lambda reply: reply)


async def settled():
    """Let all tasks go as far as they can."""
    for _ in range(1000):
        await asyncio.sleep(0)


def reply_to(request):
    return str(request.rows.size).encode()


async def not_at_all(request):
    raise AssertionError("answered at once")


async def test_a_small_lookup_waits_for_no_more_than_a_few_pieces_of_a_large_fetch_before_it():
    context = ScriptedContext(*[LARGE] * 40, SMALL)
    running = asyncio.create_task(stream(context, reply_to, not_at_all).run())
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

    running = asyncio.create_task(stream(context, lambda _: None, answer).run())
    await context.all_read.wait()
    begun_at_once = len(begun)
    may_end.set()
    context.reading.set()
    await running

    assert begun_at_once == 4
    assert len(context.replies) == 41
    assert begun.index(SMALL) <= 5


MIB = 1 << 20


async def read_of_a_client_that_takes_no_replies(decode):
    """Return how many messages of a MiB are read, of 100."""
    context = ScriptedContext(*[b"0".rjust(MIB)] * 100)
    running = asyncio.create_task(stream(context, reply_to, not_at_all, decode=decode).run())
    await settled()
    num_read = context.num_read
    context.reading.set()
    await running
    assert len(context.replies) == 100
    return num_read


async def test_messages_without_rows_fill_no_more_memory_than_others():
    assert await read_of_a_client_that_takes_no_replies(decode) <= 16 + 8


async def test_a_name_that_no_table_can_have_is_refused_before_anything_waits():
    def with_a_long_name(message):
        return Request(1, "x" * len(message), "v", np.zeros(0, np.int64))

    assert await read_of_a_client_that_takes_no_replies(with_a_long_name) <= 8


async def test_turns_are_counted_in_bytes_of_the_replies():
    """A piece of one row of a MiB is as large as one of 4,096 rows of 256 bytes."""
    context = ScriptedContext(*[1] * 40, SMALL)
    widths = {1: MIB, SMALL: SMALL * 264}
    served = stream(context, reply_to, not_at_all, reply_bytes=lambda request: widths[request.rows.size])
    running = asyncio.create_task(served.run())
    await context.all_read.wait()
    context.reading.set()
    await running

    assert context.replies.index(b"16") <= 6


async def test_lookups_of_no_rows_that_come_without_end_keep_nobody_waiting():
    class OneForEachReply:
        """Has 20 lookups of no rows and one of some waiting; for each reply a further one of no rows comes."""

        def __init__(self):
            self.requests, self.replies = asyncio.Queue(), []
            for message in [b"0"] * 10 + [b"100"] + [b"0"] * 10:
                self.requests.put_nowait(message)

        async def read(self):
            return await self.requests.get()

        async def write(self, reply):
            await asyncio.sleep(0)
            self.replies.append(reply)
            self.requests.put_nowait(None if b"100" in self.replies or len(self.replies) == 200 else b"0")

    context = OneForEachReply()
    await stream(context, reply_to, not_at_all).run()

    assert context.replies.index(b"100") < 100


async def test_a_warm_lookup_does_not_wait_behind_cold_ones():
    context, may_end = ScriptedContext(*[SMALL] * 20, LARGE), asyncio.Event()

    async def answer(request):
        await may_end.wait()
        return reply_to(request)

    context.reading.set()
    served = stream(context, lambda request: reply_to(request) if request.rows.size == LARGE else None, answer)
    running = asyncio.create_task(served.run())
    await settled()
    replies_before = list(context.replies)
    may_end.set()
    await running

    assert replies_before == [str(LARGE).encode()]
    assert len(context.replies) == 21


async def test_cold_lookups_that_wait_for_others_count_as_waiting():
    context, may_end = ScriptedContext(*[b"1".rjust(MIB)] * 100), asyncio.Event()

    async def answer(request):
        await may_end.wait()
        return reply_to(request)

    context.reading.set()
    running = asyncio.create_task(stream(context, lambda _: None, answer).run())
    await settled()
    num_read = context.num_read
    may_end.set()
    await running

    assert num_read <= 16 + 8
    assert len(context.replies) == 100


async def test_a_stream_that_is_told_to_end_does_so_while_requests_come_without_end():
    class BusyContext:
        def __init__(self):
            self.num_read, self.replies = 0, []

        async def read(self):
            await asyncio.sleep(0)
            self.num_read += 1
            return b"1"

        async def write(self, reply):
            self.replies.append(reply)

    context = BusyContext()
    served = stream(context, reply_to, not_at_all)
    running = asyncio.create_task(served.run())
    await settled()
    assert not running.done()

    served.drain()
    async with asyncio.timeout(30):
        await running

    assert len(context.replies) >= context.num_read - 1  # one read may have been under way
