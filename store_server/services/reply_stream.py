"""One open LookupStream: requests are read as they come, replies written as they are ready."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

import grpc

from engram_store.codec import LOOKUPS_A_MESSAGE_KEY, MOST_LOOKUPS_A_MESSAGE, Request
from store_server.failures import CallFailed
from store_server.services.fair_queue import FairQueue, Room
from store_server.services.together import Together, divided, has_names_of_a_table

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

_MOST_BYTES_WAITING: Final = 16 << 20  # of requests that were read and not begun
_BYTES_OF_ANY_REQUEST: Final = 1024  # what it takes to hold or to answer one, beside its message and its rows
_REPLIES_WAITING: Final = 4  # replies ready before the client takes them; more would only fill memory
_SLOW_LOOKUPS: Final = 4  # lookups of one stream that may wait for a disk at once; others have threads left then
_SMALL_REPLY_BYTES: Final = 256 << 10  # of rows that are gathered and written soon enough to be answered on the spot


class _Waiting(NamedTuple):
    requests: list[Request]
    held_bytes: int
    turns: int


class ReplyStream:
    """Reads requests, gathers and writes replies in a task each, so that one lookup is gathered while another is sent.

    Requests are read ahead and begun in fair turns: the many pieces of a large fetch hold up a small one that comes
    behind them no longer than those few take that were begun already. A small request that finds the stream idle is
    answered by the task that read it: each task that a lookup passes through costs it a turn of the event loop.
    `reply_bytes` says how many bytes of rows the answer will have, or None if that is not known yet.

    Requests that come in one message are answered in one, as far as that is not too large: a message costs more than a
    small lookup in it. Requests that come one by one are answered one by one, as older clients expect.

    `answer_at_once` returns the reply to requests, or None if that might wait for a disk or they cannot be answered
    together; several are then answered each by itself. One for which that might wait is awaited from `answer`, a few at
    a time, and later requests are answered meanwhile. `decode` raises CallFailed for a message that cannot be read:
    such a one has no id to answer to, so the stream ends after the replies to those before it, and `unreadable` says
    why. `worded` returns a reply as it is to be sent, and is asked just before that.
    """

    def __init__(
        self,
        context: Context,
        decode: Callable[[bytes], list[Request]],
        answer_at_once: Callable[[Sequence[Request]], bytes | None],
        answer: Callable[[Request], Awaitable[bytes]],
        reply_bytes: Callable[[Request], int | None],
        worded: Callable[[bytes], bytes],
    ) -> None:
        self.unreadable: CallFailed | None = None
        self._context = context
        self._decode = decode
        self._answer_at_once = answer_at_once
        self._answer = answer
        self._reply_bytes = reply_bytes
        self._worded = worded
        self._room = Room(_MOST_BYTES_WAITING)  # for the requests of both queues
        self._requests: FairQueue[_Waiting] = FairQueue()
        self._slow_requests: FairQueue[_Waiting] = FairQueue()
        self._replies: asyncio.Queue[bytes | None] = asyncio.Queue(_REPLIES_WAITING)
        self._slots = asyncio.Semaphore(_SLOW_LOOKUPS)
        self._reader: asyncio.Task[None] | None = None
        self._unwritten = 0  # requests whose replies are for `_write` to write
        self._is_waiting = False  # for a request: only then may the reader be cancelled
        self._reads_no_more = False

    async def run(self) -> None:
        """Serve the stream until the client ends it or `drain` does.

        Raises CancelledError when the client has gone, as gRPC itself does.
        """
        client_has_gone = False
        try:
            await self._context.send_initial_metadata(((LOOKUPS_A_MESSAGE_KEY, str(MOST_LOOKUPS_A_MESSAGE)),))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write())
                async with asyncio.TaskGroup() as answers:
                    self._reader = answers.create_task(self._read())
                    answers.create_task(self._gather())
                    answers.create_task(self._gather_slowly(answers))
                await self._replies.put(None)
        except* grpc.aio.InternalError:  # raised by gRPC when there is nobody to write to any more
            client_has_gone = True
        if client_has_gone:
            await asyncio.sleep(0)  # gRPC may have cancelled us too: that one is delivered here, not on top of ours
            raise asyncio.CancelledError

    def drain(self) -> None:
        """End the stream, also if requests go on coming; those that were read by now are answered."""
        self._reads_no_more = True
        if self._is_waiting and self._reader is not None:
            self._reader.cancel()

    async def _next_message(self) -> object:
        self._is_waiting = True
        try:
            return await self._context.read()
        finally:
            self._is_waiting = False

    async def _read(self) -> None:
        try:
            # What is no bytes is the end.
            while not self._reads_no_more and isinstance(message := await self._next_message(), bytes):
                for together in divided(self._decode(message), self._reply_bytes):
                    await self._take(together, len(message))
        except CallFailed as failed:
            self.unreadable = failed
        finally:
            self._requests.close()

    async def _take(self, together: Together, message_bytes: int) -> None:
        reply = self._answer_at_once(together.requests) if self._is_answered_on_the_spot(together) else None
        if reply is not None and not self._unwritten:
            await self._context.write(self._worded(reply))
            return
        self._unwritten += 1
        if reply is not None:
            await self._replies.put(reply)
        else:
            await self._put(together, message_bytes)

    def _is_answered_on_the_spot(self, together: Together) -> bool:
        if not has_names_of_a_table(together.requests[0]):
            return True  # it is refused, and such a one is not held
        return not self._unwritten and together.reply_bytes is not None and together.reply_bytes <= _SMALL_REPLY_BYTES

    async def _put(self, together: Together, message_bytes: int) -> None:
        waiting = _waiting(together, message_bytes)
        await self._room.take(waiting.held_bytes)
        self._requests.put(waiting, waiting.turns)

    def _put_one_by_one(self, waiting: _Waiting) -> None:
        """Let each of several wait for a turn of its own."""
        # Copies, so that one that waits for long does not hold the message of all.
        ones = [request._replace(rows=request.rows.copy()) for request in waiting.requests]
        alone = [_waiting(Together([one], self._reply_bytes(one)), one.rows.nbytes) for one in ones]
        self._room.give(waiting.held_bytes - sum(each.held_bytes for each in alone))
        self._unwritten += len(alone) - 1
        for each in alone:
            self._requests.put(each, each.turns)

    async def _gather(self) -> None:
        while (waiting := await self._requests.get()) is not None:
            reply = self._answer_at_once(waiting.requests)
            if reply is not None:
                self._room.give(waiting.held_bytes)
                await self._replies.put(reply)
            elif len(waiting.requests) == 1:
                self._slow_requests.put(waiting, waiting.turns)
            else:
                self._put_one_by_one(waiting)
            await asyncio.sleep(0)  # to gather many in a row would keep other streams waiting
        self._slow_requests.close()

    async def _gather_slowly(self, answers: asyncio.TaskGroup) -> None:
        await self._slots.acquire()
        while (waiting := await self._slow_requests.get()) is not None:
            self._room.give(waiting.held_bytes)
            answers.create_task(self._answer_slowly(*waiting.requests))
            await self._slots.acquire()

    async def _answer_slowly(self, request: Request) -> None:
        try:
            await self._replies.put(await self._answer(request))
        finally:
            self._slots.release()

    async def _write(self) -> None:
        while (reply := await self._replies.get()) is not None:
            await self._context.write(self._worded(reply))
            self._unwritten -= 1


def _waiting(together: Together, message_bytes: int) -> _Waiting:
    requests, reply_bytes = together
    overhead = len(requests) * _BYTES_OF_ANY_REQUEST
    turns = (message_bytes if reply_bytes is None else reply_bytes) + overhead
    return _Waiting(requests, message_bytes + overhead, turns)
