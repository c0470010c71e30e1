"""One lookup stream: which lookups share a message, how long silence is borne, and what ends when it breaks."""

import asyncio
import dataclasses

import numpy as np
import pytest
from support.virtual_clock import run_virtually

from engram_client.errors import RowOutOfRange, TimeLimitExceeded, Unavailable
from engram_client.lookup_stream import LookupStream
from engram_client.pieces import Piece
from engram_client.table_info import TableInfo
from engram_store.codec import decode_given_up, decode_stream_requests, encode_stream_reply
from engram_store.v1 import error_reason_pb2 as reasons
from engram_store.v1 import lookup_service_pb2 as pb

TABLE = TableInfo(
    name="t",
    version="v1",
    num_rows=100,
    row_bytes=8,
    row_format="",
    fingerprint="",
    backend="fake",
    max_rows_per_lookup=100,
)


class SilentCall:
    """A call that answers nothing, and whose writes raise the errors it is given, one after another."""

    def __init__(self, *write_errors):
        self.write_errors = list(write_errors)
        self.written = asyncio.Event()
        self.cancelled = False

    async def initial_metadata(self):
        return ()

    async def read(self):
        await asyncio.Event().wait()

    async def write(self, _message):
        self.written.set()
        if self.write_errors and (error := self.write_errors.pop(0)) is not None:
            raise error

    def cancel(self):
        self.cancelled = True


def pieces():
    return [Piece(np.array([1]), np.empty((1, 8), np.uint8))]


async def test_a_write_that_fails_in_an_unforeseen_way_breaks_the_stream_for_all_who_wait_or_come():
    call = SilentCall(None, MemoryError("no memory for the message"))
    stream = LookupStream(call, "a node")
    waiting = asyncio.create_task(stream.fetch(TABLE, pieces(), 5.0))
    await call.written.wait()

    for fetch in (stream.fetch(TABLE, pieces(), 5.0), waiting, stream.fetch(TABLE, pieces(), 60.0)):
        with pytest.raises(Unavailable, match=r"a node: a lookup could not be written: MemoryError\('no memory"):
            await fetch

    assert isinstance(stream.broken, Unavailable)  # so that another is opened
    assert call.cancelled
    await stream.close()


class SlowCall(SilentCall):
    """A call that answers one lookup after another, each so many seconds after the one before."""

    def __init__(self, *seconds):
        super().__init__()
        self.seconds = list(seconds)
        self.requests = asyncio.Queue()

    async def write(self, message):
        (request,) = decode_stream_requests(message)
        self.requests.put_nowait(request)

    async def read(self):
        if not self.seconds:
            return await super().read()
        request = await self.requests.get()
        await asyncio.sleep(self.seconds.pop(0))
        return encode_stream_reply(request.id, request.version, np.full((1, 8), request.rows[0], np.uint8))


def three_pieces(out):
    return [Piece(np.array([number + 1]), out[number : number + 1]) for number in range(3)]


def test_a_fetch_of_which_something_keeps_coming_is_waited_for():
    async def fetch():
        stream, out = LookupStream(SlowCall(1.9, 1.9, 1.9), "a node"), np.zeros((3, 8), np.uint8)
        await stream.fetch(TABLE, three_pieces(out), 10.0, patience=2.0)
        return out, asyncio.get_running_loop().time()

    out, seconds = run_virtually(fetch())

    assert out.tolist() == [[1] * 8, [2] * 8, [3] * 8]
    assert seconds == pytest.approx(5.7)


@pytest.mark.parametrize(("seconds", "gave_up_at"), [((), 2.0), ((1.5,), 3.5), ((0.1, 1.8), 3.9)])
def test_a_fetch_of_which_nothing_comes_for_long_is_given_up(seconds, gave_up_at):
    async def fetch():
        stream, out = LookupStream(SlowCall(*seconds), "a node"), np.zeros((3, 8), np.uint8)
        with pytest.raises(TimeLimitExceeded, match="no answer within 2 s"):
            await stream.fetch(TABLE, three_pieces(out), 10.0, patience=2.0)
        return asyncio.get_running_loop().time()

    assert run_virtually(fetch()) == pytest.approx(gave_up_at)


class OneWriteATime(SilentCall):
    """A call of a node that says it takes `most` lookups a message; after `free` writes `may_write` lets others end."""

    def __init__(self, most, free=0):
        super().__init__()
        self.most = most
        self.messages = []
        self.may_write = asyncio.Semaphore(free)
        self.replies = asyncio.Queue()

    async def initial_metadata(self):
        return () if self.most is None else (("lookups-a-message", self.most),)

    async def write(self, message):
        self.messages.append([request.rows.tolist() for request in decode_stream_requests(message)])
        await self.may_write.acquire()

    async def read(self):
        return await self.replies.get()


async def turns_of_the_loop():
    for _ in range(20):
        await asyncio.sleep(0)


async def messages_of(most, fetches, *, row_bytes=8):
    """Return the sizes of lookups in each message for these fetches, given by the sizes of their pieces.

    They begin together, behind one that is being written.
    """
    call = OneWriteATime(most)
    stream = LookupStream(call, "a node")
    await turns_of_the_loop()
    table = dataclasses.replace(TABLE, row_bytes=row_bytes)
    tasks = [
        asyncio.create_task(stream.fetch(table, [piece_of(size, row_bytes) for size in sizes], 60.0))
        for sizes in ([1], *fetches)
    ]
    await turns_of_the_loop()
    for _ in range(100):
        call.may_write.release()
    await turns_of_the_loop()
    await stream.close()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert call.messages[0] == [[0]]  # alone, as nothing was under way
    return [[len(rows) for rows in message] for message in call.messages[1:]]


def piece_of(size, row_bytes):
    return Piece(np.zeros(size, np.int64), np.empty((size, row_bytes), np.uint8))


async def test_lookups_that_wait_while_a_message_is_written_share_the_next_one():
    assert await messages_of("64", [[2], [3], [4]]) == [[2, 3, 4]]


@pytest.mark.parametrize("said", [None, "1", "0", "-5", "", "many", "\u0664", "2.5"])
async def test_a_node_that_does_not_say_that_it_takes_several_gets_one_by_one(said):
    expected = [[2, 3]] if said == "\u0664" else [[2], [3]]

    assert await messages_of(said, [[2], [3]]) == expected


async def test_no_more_lookups_share_a_message_than_the_node_takes_and_the_codec_knows():
    assert await messages_of("2", [[2], [3], [4]]) == [[2, 3], [4]]
    assert [len(message) for message in await messages_of("9" * 5000, [[1]] * 70)] == [64, 6]


async def test_a_message_holds_no_more_than_a_piece_of_a_large_fetch():
    """There and back a row takes 1,032 bytes here; 2 MiB are a piece."""
    sent = await messages_of("64", [[1000], [1000], [1000], [1], [5000], [1]], row_bytes=1024)

    assert sent == [[1000, 1000], [1000, 1], [5000], [1]]


async def test_the_pieces_of_a_fetch_take_turns_with_others_in_shared_messages():
    assert await messages_of("64", [[2, 3, 4], [5], [6, 7]]) == [[2, 5, 6], [3, 7], [4]]


async def test_lookups_of_one_turn_of_the_loop_share_a_message_while_others_are_under_way():
    call = OneWriteATime("64", free=100)
    stream = LookupStream(call, "a node")
    await turns_of_the_loop()
    first = asyncio.create_task(stream.fetch(TABLE, [piece_of(1, 8)], 60.0))
    await turns_of_the_loop()
    others = [asyncio.create_task(stream.fetch(TABLE, [piece_of(2, 8)], 60.0)) for _ in range(3)]
    await turns_of_the_loop()
    await stream.close()
    await asyncio.gather(first, *others, return_exceptions=True)

    assert call.messages == [[[0]], [[0, 0]] * 3]


async def test_each_of_several_answers_in_a_message_goes_to_its_own_fetch():
    call = OneWriteATime("64", free=100)
    stream = LookupStream(call, "a node")
    outs = np.zeros((3, 1, 8), np.uint8)
    tasks = [
        asyncio.create_task(stream.fetch(TABLE, [Piece(np.array([number]), outs[number])], 60.0)) for number in range(3)
    ]
    await turns_of_the_loop()
    call.replies.put_nowait(reply_of({3: None, 2: 20, 1: 10}))

    await asyncio.gather(*tasks[:2])
    with pytest.raises(RowOutOfRange, match="no such row"):
        await tasks[2]
    await stream.close()

    assert outs[:, 0, 0].tolist() == [10, 20, 0]


def reply_of(values):
    """Return one message that answers lookups by their ids, with a row of that value, or a failure."""
    failure = pb.Failure(code=11, message="no such row", reason=reasons.ERROR_REASON_ROW_OUT_OF_RANGE)
    first, *others = (
        pb.LookupStreamResponse(id=number, failure=failure)
        if value is None
        else pb.LookupStreamResponse(id=number, version="v1", rows=bytes([value] * 8))
        for number, value in values.items()
    )
    first.more.extend(others)
    return first.SerializeToString()


class CallThatHears(SilentCall):
    """Answers nothing and keeps what is written; `said` is its initial metadata."""

    def __init__(self, *said):
        super().__init__()
        self.said = said
        self.messages = []

    async def initial_metadata(self):
        return self.said

    async def write(self, message):
        self.messages.append(message)


async def given_up_by(*said):
    """What a node hears of two fetches of three pieces, of which one is cancelled and one ends by its time limit."""
    call = CallThatHears(*said)
    stream = LookupStream(call, "a node")
    fetches = [asyncio.create_task(stream.fetch(TABLE, three_pieces(np.empty((3, 8), np.uint8)), 0.1)) for _ in "ab"]
    await turns_of_the_loop()
    fetches[0].cancel()
    await asyncio.wait(fetches)
    await turns_of_the_loop()
    await stream.close()
    asked = [request.id for message in call.messages for request in lookups_in(message)]
    return asked, [decode_given_up(message) for message in call.messages if not lookups_in(message)]


def lookups_in(message):
    return decode_stream_requests(message) if decode_given_up(message) is None else []


async def test_a_node_that_wants_to_hear_it_is_told_of_what_nobody_waits_for_any_more():
    asked, given_up = await given_up_by(("drops-given-up", "1"))

    assert len(asked) == 6
    assert len(given_up) == 2
    assert sorted(given_up[0] + given_up[1]) == sorted(asked)


async def test_an_older_node_is_told_nothing():
    asked, given_up = await given_up_by()

    assert len(asked) == 6
    assert given_up == []


class CallThatEndsItsRead(SilentCall):
    """A call whose read ends when the call is cancelled, as gRPC's does, and which notes how."""

    def __init__(self):
        super().__init__()
        self.ended, self.read_ended_by = asyncio.Event(), None

    async def read(self):
        try:
            await self.ended.wait()
            self.read_ended_by = "the call"
        except asyncio.CancelledError:
            self.read_ended_by = "its task"
            raise

    def cancel(self):
        self.ended.set()


async def test_the_end_of_a_stream_cancels_no_read_since_gRPC_keeps_for_ever_what_it_has_for_one():
    call = CallThatEndsItsRead()
    stream = LookupStream(call, "node")
    await asyncio.sleep(0)

    await stream.close()

    assert call.read_ended_by == "the call"
