"""One bidirectional gRPC stream that carries many lookups at once."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import grpc

from engram_client.eager_writer import EagerWriter
from engram_client.errors import EngramError, ProtocolError, StoreClosed, TimeLimitExceeded, Unavailable
from engram_client.grpc_errors import error_of_call, error_of_failure
from engram_client.pieces import PIECE_BYTES, Piece, missing
from engram_client.security import Security
from engram_client.table_info import TableInfo
from engram_client.tracing import TRACEPARENT
from engram_store.codec import (
    DROPS_GIVEN_UP_KEY,
    LOOKUPS_A_MESSAGE_KEY,
    MOST_LOOKUPS_A_MESSAGE,
    Reply,
    Request,
    decode_stream_replies,
    encode_given_up,
    encode_stream_requests,
)

Call: TypeAlias = grpc.aio.StreamStreamCall[bytes, bytes]

# What one fetch may have under way, unless one piece is larger. Enough to keep the wire busy; more would only be
# gathered in vain when the fetch is cancelled, and be waited for by those that come after it.
WINDOW_BYTES: Final = 4 << 20
_END_SECONDS: Final = 1.0  # for the read of a stream that was cancelled, which waits for nobody by then


@dataclass(slots=True, eq=False)
class _Fetch:
    """The pieces of one fetch on this stream; `done` is resolved by the last of them."""

    table: TableInfo
    unsent: deque[Piece]
    unanswered: int
    done: asyncio.Future[None]
    traceparent: str
    ids: list[int] = field(default_factory=list)
    bytes_under_way: int = 0
    has_turn: bool = False
    next_look: asyncio.TimerHandle | None = None  # whether something has come lately
    last_came_at: float = 0.0

    def may_send(self) -> bool:
        """Tell whether another piece may go out now."""
        return bool(self.unsent) and self.bytes_under_way < WINDOW_BYTES and not self.done.done()

    def answer(self, piece: Piece, reply: Reply) -> None:
        """Take the reply to `piece`, unless the fetch has ended: then its buffer is the caller's again."""
        self.bytes_under_way -= piece.num_bytes
        if self.done.done():
            return
        error = self._error_in(piece, reply)
        if error is not None:
            self.done.set_exception(error)
            return
        piece.fill(reply.rows)
        if self.next_look is not None:
            self.last_came_at = self.done.get_loop().time()
        self.unanswered -= 1
        if self.unanswered == 0:
            self.done.set_result(None)

    def give_up(self, timeout: float) -> None:
        """End the fetch for having taken `timeout` seconds, unless it has ended."""
        if not self.done.done():
            self.done.set_exception(TimeLimitExceeded(f"no answer within {timeout:g} s"))

    def be_patient(self, seconds: float) -> None:
        """End the fetch once nothing has come for as many seconds."""
        loop = self.done.get_loop()

        def look() -> None:
            limit = self.last_came_at + seconds
            if loop.time() >= limit:
                self.give_up(seconds)
            elif not self.done.done():
                self.next_look = loop.call_at(limit, look)

        self.last_came_at = loop.time()
        self.next_look = loop.call_at(self.last_came_at + seconds, look)

    def _error_in(self, piece: Piece, reply: Reply) -> EngramError | None:
        if reply.failure is not None:
            return error_of_failure(reply.failure)
        if reply.version != self.table.version:
            return ProtocolError(
                f"asked for version {self.table.version} of table {self.table.name!r}, "
                f"got rows of version {reply.version!r}"
            )
        if reply.rows.nbytes != piece.reply_bytes:
            return ProtocolError(
                f"asked for {len(piece.rows)} rows of {self.table.row_bytes} bytes of table {self.table.name!r}, "
                f"got {reply.rows.nbytes} bytes, not {piece.reply_bytes}"
            )
        return None


class LookupStream:
    """Sends lookups as they come and hands replies to whoever waits for them, in any order.

    Fetches of many pieces take turns, each with no more than WINDOW_BYTES under way. A lookup that finds the stream
    idle goes out at once. Where others are under way, those of one turn of the loop, or that come while a message is
    being written, share a message no larger than a piece of a large fetch, if the node takes several: a message costs
    both sides more than a small lookup in it.
    Belongs to the running event loop. Once `broken`, it stays broken; open another.
    """

    def __init__(self, call: Call, address: str, security: Security | None = None) -> None:
        self.broken: EngramError | None = None
        self.draining = False  # what the node said last: whether it is about to stop
        self._call = call
        self._address = address
        self._security = security
        self._ids = itertools.count(1)
        self._waiting: dict[int, tuple[_Fetch, Piece]] = {}
        self._fetches: set[_Fetch] = set()
        self._turns: deque[_Fetch] = deque()  # those that may send a piece, each at most once
        self._sending: list[_Fetch] = []  # those of which pieces are being written
        self._given_up: list[int] = []  # lookups that the node is still to be told of
        self._drops_given_up = False  # until the node has said that it wants to be
        self._most_lookups = 1  # in one message, until the node has said that it takes several
        # No task that somebody may cancel reads or writes: to cancel either in mid-air makes gRPC cancel the stream.
        self._reader = asyncio.create_task(self._read())
        ended_by = (grpc.aio.AioRpcError, asyncio.InvalidStateError)  # the reader finds out why
        self._writer = EagerWriter(call.write, self._next_request, ended_by, self._end_unwritten)

    async def fetch(
        self, table: TableInfo, pieces: Sequence[Piece], timeout: float, patience: float | None = None
    ) -> None:
        """Fill the pieces that have not arrived, the first of them on its way before anything is waited for.

        When this ends in whatever way, nothing writes into the pieces any more. Raises Unavailable when the stream
        breaks first, TimeLimitExceeded after `timeout` seconds, or after `patience` seconds in which nothing came.
        """
        if self.broken is not None:
            raise _fresh(self.broken)
        unsent = deque(missing(pieces))
        if not unsent:
            return
        loop = asyncio.get_running_loop()
        fetch = _Fetch(table, unsent, len(unsent), loop.create_future(), TRACEPARENT.get())
        # Timers of the loop, at a third of the cost of asyncio.timeout.
        limit = loop.call_later(timeout, fetch.give_up, timeout)
        if patience is not None and patience < timeout:
            fetch.be_patient(patience)
        self._fetches.add(fetch)
        try:
            self._give_turn(fetch)
            if self._most_lookups > 1 and len(self._fetches) > 1:
                loop.call_soon(self._writer.wake)  # once the others of this turn have come
            else:
                self._writer.wake()
            await fetch.done
        finally:
            limit.cancel()
            if fetch.next_look is not None:
                fetch.next_look.cancel()
            self._fetches.discard(fetch)
            self._give_up([number for number in fetch.ids if self._waiting.pop(number, None) is not None])

    async def close(self) -> None:
        """End the stream; what is under way fails with StoreClosed."""
        self._break(StoreClosed(f"the store at {self._address} was closed"))
        self._call.cancel()
        # That ends the reader, too. To cancel its task makes gRPC lose what it has for the read: 120 bytes each time.
        await asyncio.wait({self._reader}, timeout=_END_SECONDS)
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    def _give_up(self, ids: Sequence[int]) -> None:
        """Tell the node that nobody waits for these lookups any more, if it wants to know."""
        if ids and self._drops_given_up and self.broken is None:
            self._given_up += ids
            self._writer.wake()

    def _give_turn(self, fetch: _Fetch) -> None:
        if fetch.may_send() and not fetch.has_turn:
            fetch.has_turn = True
            self._turns.append(fetch)

    def _next_request(self) -> bytes | None:
        """Return a message of pieces whose turn it is, None if there are none; what was returned before is written."""
        for fetch in self._sending:
            self._give_turn(fetch)  # behind those who came meanwhile
        if self._given_up:
            self._sending, given_up, self._given_up = [], self._given_up, []
            return encode_given_up(given_up)
        self._sending, requests, num_bytes = [], list[Request](), 0
        while self._turns and len(requests) < self._most_lookups:
            fetch = self._turns[0]
            if fetch.may_send():  # else it has ended meanwhile
                num_bytes += fetch.unsent[0].num_bytes
                if requests and num_bytes > PIECE_BYTES:
                    break
                requests.append(self._request_of(fetch))
                self._sending.append(fetch)
            self._turns.popleft()
            fetch.has_turn = False
        return encode_stream_requests(requests) if requests else None

    def _request_of(self, fetch: _Fetch) -> Request:
        number, piece = next(self._ids), fetch.unsent.popleft()
        fetch.ids.append(number)
        fetch.bytes_under_way += piece.num_bytes
        self._waiting[number] = (fetch, piece)
        return Request(number, fetch.table.name, fetch.table.version, piece.rows, fetch.traceparent)

    async def _read(self) -> None:
        try:
            said = dict(tuple(await self._call.initial_metadata()))  # that of gRPC 1.64 is no mapping to dict
            self._most_lookups, self._drops_given_up = _most_lookups(said), DROPS_GIVEN_UP_KEY in said
            while isinstance(message := await self._call.read(), bytes):  # what is no bytes is the end
                self._deliver(decode_stream_replies(message))
            self._break(Unavailable(f"{self._address}: the server ended the stream"))
        except grpc.aio.AioRpcError as error:
            self._break(error_of_call(error, self._address, self._security))
        except Exception as error:  # whatever it is, nobody may wait for a stream that is not read any more
            self._break(ProtocolError(f"{self._address}: {error}"))
            self._call.cancel()  # nothing should be sent on a stream that nobody reads

    def _deliver(self, replies: Sequence[Reply]) -> None:
        self.draining = replies[0].is_draining
        for reply in replies:
            fetch, piece = self._waiting.pop(reply.id, (None, None))
            if fetch is not None and piece is not None:  # nobody waits for a reply that came too late
                fetch.answer(piece, reply)
                self._give_turn(fetch)
        self._writer.wake()

    def _end_unwritten(self, error: BaseException) -> None:
        self._break(Unavailable(f"{self._address}: a lookup could not be written: {error!r}"))
        self._call.cancel()  # the server should not wait for lookups that cannot come

    def _break(self, error: EngramError) -> None:
        self.broken = self.broken or error
        for fetch in self._fetches:
            if not fetch.done.done():
                fetch.done.set_exception(_fresh(self.broken))


def _most_lookups(metadata: Mapping[str, str | bytes]) -> int:
    """Return how many lookups a node takes in one message; older ones say nothing of it."""
    said = str(metadata.get(LOOKUPS_A_MESSAGE_KEY))
    return max(1, min(int(said[:9]), MOST_LOOKUPS_A_MESSAGE)) if said.isdecimal() else 1


def _fresh(error: EngramError) -> EngramError:
    """Return the same error anew: one that is raised in several tasks would gather all their tracebacks."""
    return type(error)(*error.args)
