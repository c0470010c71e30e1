"""A lookup stream that can write no more says so, at once and to everybody."""

import asyncio

import numpy as np
import pytest

from engram_client.errors import Unavailable
from engram_client.lookup_stream import LookupStream
from engram_client.pieces import Piece
from engram_client.table_info import TableInfo

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
