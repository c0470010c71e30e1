"""One stream against a client that a test scripts: which lookups share a message, and which replies."""

import asyncio

import numpy as np
from support.scripted_stream import LARGE, SMALL, ScriptedContext, not_at_all, reply_to, stream

from engram_store.codec import Request


async def replies_to(messages, answer_at_once=reply_to, answer=not_at_all):
    """Return the replies to messages that are all read before the first reply is taken; the first must be a large one.

    A small one is answered before another message is read.
    """
    context = ScriptedContext(*messages)
    running = asyncio.create_task(stream(context, answer_at_once, answer).run())
    await context.all_read.wait()
    context.reading.set()
    await running
    return context.replies


async def test_a_stream_tells_at_once_how_many_lookups_it_takes_in_a_message_and_that_it_drops_some():
    context = ScriptedContext()
    running = asyncio.create_task(stream(context, reply_to, not_at_all).run())
    await context.all_read.wait()
    told = list(context.metadata)
    context.reading.set()
    await running

    assert told == [(("lookups-a-message", "64"), ("drops-given-up", "1"))]


async def test_lookups_that_came_in_one_message_are_answered_in_one_and_others_one_by_one():
    replies = await replies_to([LARGE, 1, 2, b"16+17+18", 3])

    assert sorted(replies) == sorted([b"8192", b"1", b"2", b"16+17+18", b"3"])


async def test_small_lookups_that_find_the_stream_idle_are_answered_in_one_message_on_the_spot():
    context = ScriptedContext(b"16+17+18", 1)
    context.reading.set()
    await stream(context, reply_to, not_at_all).run()

    assert context.replies == [b"16+17+18", b"1"]


async def test_a_message_to_several_lookups_is_no_larger_than_a_piece_unless_one_of_them_is():
    sizes = [LARGE, LARGE, LARGE, 3 * LARGE, SMALL, SMALL]  # a large one's reply is a MiB

    replies = await replies_to([LARGE, "+".join(map(str, sizes)).encode()])

    assert sorted(replies) == sorted([b"8192", b"8192+8192", b"8192", b"24576", b"16+16"])


async def test_each_of_several_is_answered_by_itself_where_they_cannot_be_answered_together():
    def but_for_the_small_one(requests):
        return None if any(request.rows.size == SMALL for request in requests) else reply_to(requests)

    async def answer(request):
        assert request.rows.size == SMALL
        return reply_to([request])

    replies = await replies_to([LARGE, b"100+16+200"], but_for_the_small_one, answer)

    assert sorted(replies) == sorted([b"8192", b"100", b"16", b"200"])


async def test_a_name_that_no_table_can_have_is_refused_by_itself():
    def decode_names(message):
        return [Request(1, name, "v", np.zeros(1, np.int64)) for name in ("t", "x" * 300, "t", "t")]

    replies = []

    def answer(requests):
        replies.append([request.table for request in requests])
        return b"answered"

    context = ScriptedContext(1)
    context.reading.set()
    await stream(context, answer, not_at_all, decode=decode_names).run()

    assert replies == [["t"], ["x" * 300], ["t", "t"]]
