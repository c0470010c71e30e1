"""One open LookupStream: requests are read as they come, replies written as they are ready."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

import grpc

from engram_store.codec import (
    DROPS_GIVEN_UP_KEY,
    LOOKUPS_A_MESSAGE_KEY,
    MOST_LOOKUPS_A_MESSAGE,
    Request,
)
from store_server import failures
from store_server.failures import CallFailed
from store_server.limits.load import BYTES_OF_ANY_REPLY, BYTES_OF_ANY_REQUEST, ClientLoad
from store_server.observing.lookup_counts import Source
from store_server.services.fair_queue import FairQueue
from store_server.services.together import Together, divided, has_names_of_a_table
from store_server.services.waiting_lookups import Waiting, WaitingLookups

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

_REPLIES_WAITING: Final = 4  # replies ready before the client takes them; more would only fill memory
_SLOW_LOOKUPS: Final = 8  # lookups of one stream that may wait for a disk, or for their turn at one, at once
_LAST_READ_SECONDS: Final = 0.1  # for a read whose client has gone, which ends it
_SMALL_REPLY_BYTES: Final = 256 << 10  # of rows that are gathered and written soon enough to be answered on the spot
_METADATA: Final = ((LOOKUPS_A_MESSAGE_KEY, str(MOST_LOOKUPS_A_MESSAGE)), (DROPS_GIVEN_UP_KEY, "1"))


class Lookups(Protocol):
    """What a stream is asked for and what it answers."""

    def requests_in(self, message: bytes) -> list[Request]:
        """Return the lookups that a message asks for. Raises CallFailed."""
        ...

    def given_up_in(self, message: bytes) -> list[int] | None:
        """Return the ids of the lookups that a message gives up, None if it is one of lookups. Raises CallFailed."""
        ...

    def reply_bytes(self, request: Request) -> int | None:
        """Return how many bytes of rows the answer will have, None if that is not known before a disk is asked."""
        ...

    def answer_at_once(self, requests: Sequence[Request]) -> bytes | None:
        """Return the reply to all, None if that might wait for a disk or they cannot be answered together."""
        ...

    async def answer(self, request: Request) -> bytes:
        """Return the reply to one for which that might wait."""
        ...

    def refusal(self, request: Request, failed: CallFailed) -> bytes:
        """Return the reply that says why there is no other."""
        ...

    def answered(self, source: Source, seconds: float, lookups: int) -> None:
        """Take note that gRPC gets the reply to lookups that were read so long ago."""
        ...


class _Reply(NamedTuple):
    """A reply that is ready, to lookups that were read some time ago, and how much of the room for replies it has."""

    message: bytes
    lookups: int
    source: Source
    read_at: float
    room_bytes: int


class ReplyStream:
    """Reads requests, gathers and writes replies in a task each, so that one lookup is gathered while another is sent.

    Requests are read ahead, as many as the node's `load` admits, and begun in fair turns: the many pieces of a large
    fetch hold up a small one that comes behind them no longer than those few take that were begun already. A small
    request that finds the stream idle is answered by the task that read it: each task that a lookup passes through
    costs it a turn of the event loop.

    Requests that come in one message are answered in one, as far as that is not too large: a message costs more than a
    small lookup in it. Requests that come one by one are answered one by one, as older clients expect.

    Those that might wait for a disk are awaited a few at a time, and later requests are answered meanwhile. A message
    that cannot be read has no id to answer to, so the stream ends after the replies to those before it, and
    `unreadable` says why. `write` writes a message.
    """

    def __init__(
        self, context: Context, lookups: Lookups, load: ClientLoad, write: Callable[[bytes], Awaitable[None]]
    ) -> None:
        self.unreadable: CallFailed | None = None
        self._context = context
        self._lookups = lookups
        self._load = load
        self._write_message = write
        self._waiting = WaitingLookups(load)
        self._requests: FairQueue[Waiting] = FairQueue()
        self._slow_requests: FairQueue[Waiting] = FairQueue()
        self._replies: asyncio.Queue[_Reply | None] = asyncio.Queue(_REPLIES_WAITING)
        self._slots = asyncio.Semaphore(_SLOW_LOOKUPS)
        self._reader: asyncio.Task[None] | None = None
        self._unwritten = 0  # requests whose replies are for `_write` to write
        self._is_reading = False  # waits for a request: only then may the reader be cancelled
        self._reads_no_more = False
        self._is_over = False  # whatever is read now is nobody's
        self._room_bytes = 0  # that replies of this stream have

    async def run(self) -> None:
        """Serve the stream until the client ends it or `drain` does.

        Raises CancelledError when the client has gone, as gRPC itself does.
        """
        client_has_gone = False
        try:
            await self._context.send_initial_metadata(_METADATA)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write())
                async with asyncio.TaskGroup() as answers:
                    self._reader = asyncio.create_task(self._read())
                    answers.create_task(self._until_read(self._reader))
                    answers.create_task(self._gather())
                    answers.create_task(self._gather_slowly(answers))
                await self._replies.put(None)
        except* grpc.aio.InternalError:  # raised by gRPC when there is nobody to write to any more
            client_has_gone = True
        finally:
            self._waiting.close()
            self._give_room(self._room_bytes)
        if client_has_gone:
            await asyncio.sleep(0)  # gRPC may have cancelled us too: that one is delivered here, not on top of ours
            raise asyncio.CancelledError

    def drain(self) -> None:
        """End the stream, also if requests go on coming; those that were read by now are answered."""
        self._reads_no_more = True
        if self._is_reading and self._reader is not None:
            self._reader.cancel()

    async def _next_message(self) -> object:
        self._is_reading = True
        try:
            message = await self._context.read()
            return None if self._is_over else message
        finally:
            self._is_reading = False

    async def _until_read(self, reader: asyncio.Task[None]) -> None:
        """Wait for the reader. When that is cancelled, let it end the read that it is at: its client has gone.

        To cancel the read makes gRPC lose what it has for it: 100 bytes for each stream that a client drops.
        """
        try:
            await asyncio.shield(reader)
        except asyncio.CancelledError:
            self._is_over = True
            if not self._is_reading:
                reader.cancel()
            await asyncio.wait({reader}, timeout=_LAST_READ_SECONDS)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            raise

    async def _read(self) -> None:
        try:
            # What is no bytes is the end.
            while not self._reads_no_more and isinstance(message := await self._next_message(), bytes):
                read_at = time.perf_counter()
                given_up = self._lookups.given_up_in(message)
                if given_up is not None:
                    await self._refuse(self._waiting.give_up(given_up), failures.given_up(), read_at)
                    continue
                for together in divided(self._lookups.requests_in(message), self._lookups.reply_bytes):
                    await self._take(together, len(message), read_at)
        except CallFailed as failed:
            self.unreadable = failed
        finally:
            self._requests.close()

    async def _take(self, together: Together, message_bytes: int, read_at: float) -> None:
        if not has_names_of_a_table(together.requests[0]):  # it is refused, and such a one is not held
            self._unwritten += 1
            refusal = self._lookups.answer_at_once(together.requests) or b""
            await self._replies.put(_Reply(refusal, 1, "ram", read_at, 0))
        elif not await self._answers_on_the_spot(together, read_at):
            try:
                waiting = self._waiting.admit(together, message_bytes, read_at)
            except CallFailed as failed:
                await self._refuse(together.requests, failed, read_at)
            else:
                self._unwritten += 1
                self._requests.put(waiting, waiting.cost)

    async def _answers_on_the_spot(self, together: Together, read_at: float) -> bool:
        """Answer what is small and held up by nothing; False if it is left to others to answer."""
        requests, num_bytes = together
        if self._unwritten or num_bytes is None or num_bytes > _SMALL_REPLY_BYTES:
            return False
        if not self._load.takes_reply_now(num_bytes, num_bytes + len(requests) * BYTES_OF_ANY_REQUEST):
            return False
        self._room_bytes += num_bytes
        try:
            reply = self._lookups.answer_at_once(requests)
            if reply is not None:
                self._lookups.answered("ram", time.perf_counter() - read_at, len(requests))
                await self._write_message(reply)
        finally:
            self._give_room(num_bytes)
        return reply is not None

    async def _refuse(self, requests: Iterable[Request], failed: CallFailed, read_at: float) -> None:
        """Answer each of some requests with a failure. To whom reads no replies there is nothing more to say."""
        for request in requests:
            self._unwritten += 1
            await self._replies.put(_Reply(self._lookups.refusal(request, failed), 1, "ram", read_at, 0))

    async def _gather(self) -> None:
        while (waiting := await self._requests.get()) is not None:
            if not self._load.has_loop_turn_now(waiting.cost):
                await self._load.loop_turn(waiting.cost)
            room_bytes = waiting.room_bytes or 0
            await self._take_room(room_bytes)
            reply = self._lookups.answer_at_once(waiting.requests) if waiting.requests else b""  # given up
            if reply is None:
                self._give_room(room_bytes)
                self._leave_to_disk(waiting)
            else:
                self._waiting.dismiss(waiting)
                lookups = len(waiting.requests)
                await self._replies.put(_Reply(reply, lookups, "ram", waiting.read_at, room_bytes))
            await asyncio.sleep(0)  # to gather many in a row would keep other streams waiting
        self._slow_requests.close()

    def _leave_to_disk(self, waiting: Waiting) -> None:
        """Let a lookup wait for a disk; each of several waits for a turn of its own, as it may need none."""
        if len(waiting.requests) == 1:
            self._slow_requests.put(waiting, waiting.cost)
            return
        ones = self._waiting.divide(waiting, self._lookups.reply_bytes)
        self._unwritten += len(ones) - 1
        for one in ones:
            self._requests.put(one, one.cost)

    async def _gather_slowly(self, answers: asyncio.TaskGroup) -> None:
        await self._slots.acquire()
        while (waiting := await self._slow_requests.get()) is not None:
            answers.create_task(self._answer_slowly(waiting))
            await self._slots.acquire()

    async def _answer_slowly(self, waiting: Waiting) -> None:
        room_bytes = BYTES_OF_ANY_REPLY if waiting.room_bytes is None else waiting.room_bytes
        try:
            if waiting.requests:  # else it was given up
                await self._take_room(room_bytes)
                reply = await self._from_disk(waiting)
                await self._replies.put(_Reply(reply, 1, "disk", waiting.read_at, room_bytes))
            else:
                self._unwritten -= 1
        finally:
            self._slots.release()

    async def _from_disk(self, waiting: Waiting) -> bytes:
        async with self._load.disk_turn(waiting.cost):
            requests = list(waiting.requests)
            self._waiting.dismiss(waiting)
            return await self._lookups.answer(requests[0]) if requests else b""

    async def _write(self) -> None:
        while (reply := await self._replies.get()) is not None:
            if reply.message:  # else all of it was given up
                self._lookups.answered(reply.source, time.perf_counter() - reply.read_at, reply.lookups)
                await self._write_message(reply.message)
            self._give_room(reply.room_bytes)
            self._unwritten -= 1

    async def _take_room(self, num_bytes: int) -> None:
        await self._load.take_reply_bytes(num_bytes)
        self._room_bytes += num_bytes

    def _give_room(self, num_bytes: int) -> None:
        if num_bytes:
            self._room_bytes -= num_bytes
            self._load.give_reply_bytes(num_bytes)
