"""One stream against a client that a test scripts: what is begun, in which order, and how much of it at once."""

import asyncio

from support.scripted_stream import (
    LARGE,
    MIB,
    SMALL,
    ContextWithMetadata,
    ScriptedContext,
    not_at_all,
    reply_to,
    settled,
    stream,
)


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
        return reply_to([request])

    running = asyncio.create_task(stream(context, lambda _: None, answer).run())
    await context.all_read.wait()
    begun_at_once = len(begun)
    may_end.set()
    context.reading.set()
    await running

    assert begun_at_once == 8
    assert len(context.replies) == 41
    assert begun.index(SMALL) <= 9


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
    class OneForEachReply(ContextWithMetadata):
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
        return reply_to([request])

    context.reading.set()
    served = stream(context, lambda requests: reply_to(requests) if requests[0].rows.size == LARGE else None, answer)
    running = asyncio.create_task(served.run())
    await settled()
    replies_before = list(context.replies)
    may_end.set()
    await running

    assert replies_before == [str(LARGE).encode()]
    assert len(context.replies) == 21
