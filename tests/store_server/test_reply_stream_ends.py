"""One stream against a client that a test scripts: what it gives up, how it goes, and how the node ends it."""

import asyncio

import numpy as np
from support.scripted_stream import (
    ContextWithMetadata,
    ScriptedContext,
    is_nothing,
    load_of,
    not_at_all,
    reasons,
    reply_to,
    settled,
    stream,
)

from engram_store.codec import Request, encode_given_up


def held_up(*messages, decode):
    """A stream of whose lookups eight wait for a disk until the event is set, and the others for their turn."""
    context, may_end, begun, load = ScriptedContext(*messages), asyncio.Event(), [], load_of()

    async def answer(request):
        begun.append(request.id)
        await may_end.wait()
        return reply_to([request])

    context.reading.set()
    running = asyncio.create_task(stream(context, lambda _: None, answer, decode=decode, load=load).run())
    return context, may_end, begun, load, running


def numbered(message):
    return [Request(int(number), "t", "v", np.zeros(1, np.int64)) for number in message.split(b"+")]


async def test_what_is_given_up_before_it_began_is_not_begun_and_held_no_longer():
    messages = [str(number).encode() for number in range(1, 15)]
    context, may_end, begun, load, running = held_up(*messages, encode_given_up([2, 12, 13, 77]), decode=numbered)
    await settled()
    refused, held = reasons(context.replies), load.waiting.taken
    may_end.set()
    await running

    assert refused == ["GIVEN_UP", "GIVEN_UP"]  # 2 had begun already, and nobody knows 77
    assert held == 4
    assert sorted(begun) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14]
    assert len(context.replies) == 14
    assert is_nothing(load)


async def test_one_of_several_in_a_message_is_given_up_by_itself():
    context, may_end, begun, load, running = held_up(
        *(b"%d" % number for number in range(11, 19)), b"5+6+7", *[encode_given_up([6])] * 2, decode=numbered
    )
    await settled()
    refused = reasons(context.replies)
    may_end.set()
    await running

    assert refused == ["GIVEN_UP"]
    assert sorted(begun) == [5, 7, *range(11, 19)]
    assert is_nothing(load)


async def test_what_a_client_that_has_gone_still_waited_for_is_held_no_longer():
    _, _, begun, load, running = held_up(*[str(number).encode() for number in range(1, 15)], decode=numbered)
    await settled()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert len(begun) == 8
    assert is_nothing(load)


async def test_a_client_that_has_gone_cancels_no_read_since_gRPC_keeps_for_ever_what_it_has_for_one():
    context, ended_by = ScriptedContext(), []

    async def read():
        context.all_read.set()
        try:
            await context.reading.wait()
            ended_by.append("gRPC")
        except asyncio.CancelledError:
            ended_by.append("its task")
            raise

    context.read = read
    running = asyncio.create_task(stream(context, reply_to, None).run())
    await context.all_read.wait()
    running.cancel()  # as gRPC does, which ends the read, too
    context.reading.set()
    await asyncio.wait({running})

    assert running.cancelled()
    assert ended_by == ["gRPC"]


async def test_what_is_read_after_the_end_of_a_stream_is_not_answered():
    context, answered = ScriptedContext(), []

    async def read():
        context.all_read.set()
        await context.reading.wait()
        return b"16"

    context.read = read
    running = asyncio.create_task(stream(context, answered.append, None).run())
    await context.all_read.wait()
    running.cancel()
    await settled()
    context.reading.set()
    await asyncio.wait({running})

    assert running.cancelled()
    assert answered == []


async def test_a_stream_that_is_told_to_end_does_so_while_requests_come_without_end():
    class BusyContext(ContextWithMetadata):
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
