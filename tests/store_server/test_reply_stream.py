"""One stream against a client that a test scripts: what is begun, in which order, and how much of it at once."""

import asyncio

import numpy as np

from engram_store.codec import (
    Request,
    decode_given_up,
    decode_stream_replies,
    encode_given_up,
    encode_stream_failure,
)
from store_server.limits.limits import Limits
from store_server.limits.load import Load
from store_server.services.reply_stream import ReplyStream

LARGE, SMALL = 8192, 16


class ScriptedContext:
    """Gives messages, the number of rows as text; replies are taken once `reading` is set.

    A message may be longer than that text, or ask for several lookups ("16+16"): bytes are given as they are.
    """

    def __init__(self, *sizes):
        self.sizes = list(sizes)
        self.num_read = 0
        self.all_read = asyncio.Event()
        self.reading = asyncio.Event()
        self.replies = []
        self.metadata = []

    async def send_initial_metadata(self, metadata):
        self.metadata.append(metadata)

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
    return [Request(1, "t", "v", np.zeros(int(size), np.int64)) for size in message.split(b"+")]


def row_bytes(request):
    return request.rows.size * 128  # a large lookup's reply is a MiB


class ScriptedLookups:
    def __init__(self, answer_at_once, answer, decode, reply_bytes):
        self.answer_at_once, self.answer = answer_at_once, answer
        self.requests_in, self.reply_bytes = decode, reply_bytes
        self.told = []

    def refusal(self, request, failed):
        return encode_stream_failure(request.id, failed.failure)

    def answered(self, source, seconds, lookups):
        assert 0 < seconds < 60
        self.told.append((source, lookups))

    def given_up_in(self, message):
        return decode_given_up(message) if len(message) % 8 == 2 and len(message) > 8 else None  # else text


def load_of(**limits):
    return Load(Limits(max_in_flight_bytes=64 << 20, **limits), disk_turns=8)


def stream(context, answer_at_once, answer, decode=decode, reply_bytes=row_bytes, load=None):
    lookups = ScriptedLookups(answer_at_once, answer, decode, reply_bytes)
    return ReplyStream(context, lookups, (load or load_of()).of("client"), context.write)


def reasons(replies):
    """The reasons of those of the replies that are failures."""
    failures = [decode_stream_replies(each)[0].failure for each in replies if each.startswith(b"\x09")]
    return [failure.reason for failure in failures]


def is_nothing(load):
    """Whether nothing is counted any more."""
    return load.waiting.taken == load.request_bytes.taken == load.reply_bytes.taken == 0


async def settled():
    """Let all tasks go as far as they can."""
    for _ in range(1000):
        await asyncio.sleep(0)


def reply_to(requests):
    return b"+".join(str(request.rows.size).encode() for request in requests)


class ContextWithMetadata:
    async def send_initial_metadata(self, _metadata):
        pass


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
        return [Request(1, "x" * len(message), "v", np.zeros(0, np.int64))]

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
