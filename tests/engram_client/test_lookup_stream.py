"""A lookup stream that can write no more says so, at once and to everybody."""

import asyncio

import numpy as np
import pytest
from support.virtual_clock import run_virtually

from engram_client.errors import TimeLimitExceeded, Unavailable
from engram_client.lookup_stream import LookupStream
from engram_client.pieces import Piece
from engram_client.table_info import TableInfo
from engram_store.codec import decode_stream_request, encode_stream_reply

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
        self.requests.put_nowait(decode_stream_request(message))

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
