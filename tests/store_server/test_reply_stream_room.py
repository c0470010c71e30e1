"""One stream against a client that a test scripts: how much of it is held, and what is refused beyond that."""

import asyncio

import numpy as np
from support.scripted_stream import (
    LARGE,
    MIB,
    ScriptedContext,
    decode,
    is_nothing,
    load_of,
    not_at_all,
    reasons,
    reply_to,
    settled,
    stream,
)

from engram_store.codec import Request, decode_stream_replies


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
        return [Request(1, "x" * len(message), "v", np.zeros(0, np.int64))]

    assert await read_of_a_client_that_takes_no_replies(with_a_long_name) <= 8


async def test_cold_lookups_that_wait_for_others_count_as_waiting_and_those_beyond_are_refused_at_once():
    context, may_end, load = ScriptedContext(*[b"1".rjust(MIB)] * 100), asyncio.Event(), load_of()

    async def answer(request):
        await may_end.wait()
        return reply_to([request])

    context.reading.set()
    running = asyncio.create_task(stream(context, lambda _: None, answer, load=load).run())
    await settled()
    refused = reasons(context.replies)
    may_end.set()
    await running

    assert refused == ["OVERLOADED"] * len(refused)
    assert 100 - 16 - 8 <= len(refused) < 100
    assert len(context.replies) == 100
    assert is_nothing(load)


async def test_a_lookup_beyond_what_may_wait_is_refused_and_says_when_to_try_again():
    context, may_end, begun, load = ScriptedContext(*range(1, 20)), asyncio.Event(), [], load_of(max_queued=10)

    async def answer(request):
        begun.append(request.rows.size)
        await may_end.wait()
        return reply_to([request])

    context.reading.set()
    running = asyncio.create_task(stream(context, lambda _: None, answer, load=load).run())
    await settled()
    failure = decode_stream_replies(context.replies[0])[0].failure
    may_end.set()
    await running

    assert (failure.code, failure.reason) == (8, "OVERLOADED")
    assert failure.metadata == {"limit": "max-queued", "retry_ms": "100"}
    assert "--max-queued 10" in failure.message
    assert len(begun) == 19 - len(reasons(context.replies)) == 13  # eight under way, and half of ten that wait


async def test_one_that_waits_for_a_disk_does_not_hold_the_message_that_it_came_in():
    rows, kept = np.zeros(MIB, np.int64), []

    def decode_one_message(message):
        return [Request(1, "t", "v", rows[:2]), Request(2, "t", "v", rows[2:])]

    async def answer(request):
        kept.append(request.rows)
        return b"slow"

    context = ScriptedContext(1)
    context.reading.set()
    await stream(context, lambda _: None, answer, decode=decode_one_message, reply_bytes=lambda _: 1).run()

    assert [each.size for each in kept] == [2, MIB - 2]
    assert not any(np.shares_memory(each, rows) for each in kept)


async def test_room_that_messages_took_is_given_back_when_their_lookups_go_on_one_by_one():
    def two_lookups(message):
        return [Request(number, "t", "v", np.zeros(1, np.int64)) for number in range(2)]

    async def answer(request):
        return b"slow"

    context, load = ScriptedContext(*[b"0".rjust(MIB)] * 5), load_of()
    context.reading.set()
    async with asyncio.timeout(30):
        await stream(context, lambda _: None, answer, decode=two_lookups, load=load).run()

    assert context.replies == [b"slow"] * 10
    assert is_nothing(load)


async def test_messages_of_many_lookups_fill_no_more_memory_than_others():
    def many_lookups(message):
        return decode(message) if message == b"8192" else decode(message) * 64

    context = ScriptedContext(LARGE, *[0] * 400)
    running = asyncio.create_task(stream(context, reply_to, not_at_all, decode=many_lookups).run())
    await settled()
    num_read = context.num_read
    context.reading.set()
    await running

    assert num_read <= 128 + 8  # each takes what it takes to hold 64 lookups, a KiB for one
    assert len(context.replies) > 128


async def test_a_message_of_which_each_part_waits_is_held_by_each():
    """Else a client could have many messages kept by one small lookup of each."""

    def two_large_ones(message):
        return [Request(number, "t", "v", np.zeros(2 * LARGE, np.int64)) for number in range(2)]

    context = ScriptedContext(*[b"0".rjust(MIB)] * 100)
    running = asyncio.create_task(stream(context, reply_to, not_at_all, decode=two_large_ones).run())
    await settled()
    num_read = context.num_read
    context.reading.set()
    await running

    assert num_read <= 8 + 8
    assert len(context.replies) == 200
