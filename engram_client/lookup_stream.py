"""One bidirectional gRPC stream that carries many lookups at once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc
import numpy as np

from engram_client.arrays import Int64Array, Uint8Array
from engram_client.errors import EngramError, ProtocolError, StoreClosed, Unavailable
from engram_client.failures import error_of_call, error_of_failure
from engram_client.table_info import TableInfo
from engram_store.codec import Reply, decode_stream_reply, encode_stream_request

Call: TypeAlias = grpc.aio.StreamStreamCall[bytes, bytes]


@dataclass(slots=True, eq=False)
class Piece:
    """A part of a fetch that travels as one lookup: `rows` (n,) go to `out` (n, row_bytes), a view of the whole."""

    rows: Int64Array
    out: Uint8Array
    arrived: bool = False


@dataclass(slots=True, eq=False)
class _Fetch:
    """The pieces of one fetch that are under way on this stream; `done` is resolved by the last of them."""

    table: TableInfo
    unanswered: int
    done: asyncio.Future[None]
    ids: list[int] = field(default_factory=list)

    def answer(self, piece: Piece, reply: Reply) -> None:
        """Take the reply to `piece`, unless the fetch has ended: then its buffer is the caller's again."""
        if self.done.done():
            return
        error = self._error_in(piece, reply)
        if error is not None:
            self.done.set_exception(error)
            return
        np.copyto(piece.out.reshape(-1), reply.rows)
        piece.arrived = True
        self.unanswered -= 1
        if self.unanswered == 0:
            self.done.set_result(None)

    def _error_in(self, piece: Piece, reply: Reply) -> EngramError | None:
        if reply.failure is not None:
            return error_of_failure(reply.failure)
        if reply.version != self.table.version:
            return ProtocolError(
                f"asked for version {self.table.version} of table {self.table.name!r}, "
                f"got rows of version {reply.version!r}"
            )
        if reply.rows.nbytes != piece.out.nbytes:
            return ProtocolError(
                f"asked for {len(piece.rows)} rows of {self.table.row_bytes} bytes of table {self.table.name!r}, "
                f"got {reply.rows.nbytes} bytes, not {piece.out.nbytes}"
            )
        return None


class LookupStream:
    """Sends lookups as they come and hands replies to whoever waits for them, in any order.

    Belongs to the running event loop. Once `broken`, it stays broken; open another.
    """

    def __init__(self, call: Call, address: str) -> None:
        self.broken: EngramError | None = None
        self._call = call
        self._address = address
        self._ids = itertools.count(1)
        self._waiting: dict[int, tuple[_Fetch, Piece]] = {}
        self._outbox: asyncio.Queue[int] = asyncio.Queue()
        # Reading and writing have a task each, because cancelling either in mid-air makes gRPC cancel the whole stream.
        self._reader = asyncio.create_task(self._read())
        self._writer = asyncio.create_task(self._write())

    async def fetch(self, table: TableInfo, pieces: Sequence[Piece]) -> None:
        """Fill the pieces that have not arrived. Raises Unavailable when the stream breaks first.

        When this ends in whatever way, nothing writes into the pieces any more.
        """
        if self.broken is not None:
            raise _fresh(self.broken)
        missing = [piece for piece in pieces if not piece.arrived]
        if not missing:
            return
        fetch = _Fetch(table, len(missing), asyncio.get_running_loop().create_future())
        try:
            for piece in missing:
                number = next(self._ids)
                fetch.ids.append(number)
                self._waiting[number] = (fetch, piece)
                self._outbox.put_nowait(number)
            await fetch.done
        finally:
            for number in fetch.ids:
                self._waiting.pop(number, None)

    async def close(self) -> None:
        """End the stream; what is under way fails with StoreClosed."""
        self._break(StoreClosed(f"the store at {self._address} was closed"))
        self._call.cancel()
        # Each by itself: a reader that had not begun ends without cancelling its writer.
        self._reader.cancel()
        self._writer.cancel()
        await asyncio.gather(self._reader, self._writer, return_exceptions=True)

    async def _write(self) -> None:
        while True:
            number = await self._outbox.get()
            fetch, piece = self._waiting.get(number, (None, None))
            if fetch is None or piece is None or fetch.done.done():
                continue  # ended before it was sent
            message = encode_stream_request(number, fetch.table.name, fetch.table.version, piece.rows)
            try:
                await self._call.write(message)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return  # the stream ended; reading it tells why

    async def _read(self) -> None:
        try:
            while isinstance(message := await self._call.read(), bytes):  # what is no bytes is the end
                self._deliver(decode_stream_reply(message))
            self._break(Unavailable(f"{self._address}: the server ended the stream"))
        except grpc.aio.AioRpcError as error:
            self._break(error_of_call(error, self._address))
        except Exception as error:  # whatever it is, nobody may wait for a stream that is not read any more
            self._break(ProtocolError(f"{self._address}: {error}"))
            self._call.cancel()
        finally:
            self._writer.cancel()  # nothing can be sent on a stream that nobody reads

    def _deliver(self, reply: Reply) -> None:
        fetch, piece = self._waiting.pop(reply.id, (None, None))
        if fetch is not None and piece is not None:  # nobody waits for a reply that came too late
            fetch.answer(piece, reply)

    def _break(self, error: EngramError) -> None:
        self.broken = self.broken or error
        for fetch, _ in self._waiting.values():
            if not fetch.done.done():
                fetch.done.set_exception(_fresh(self.broken))


def _fresh(error: EngramError) -> EngramError:
    """Return the same error anew: one that is raised in several tasks would gather all their tracebacks."""
    return type(error)(*error.args)
