"""One open LookupStream: requests are read as they come, replies written as they are ready."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import grpc

from engram_store.codec import Request
from store_server.failures import LookupFailed
from store_server.services.fair_queue import FairQueue

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

_MOST_BYTES_WAITING: Final = 16 << 20  # of requests that were read and not begun
_REPLIES_WAITING: Final = 4  # replies ready before the client takes them; more would only fill memory
_SLOW_LOOKUPS: Final = 4  # lookups of one stream that may wait for a disk at once; others have threads left then
_SMALL_ROWS: Final = 1024  # of a lookup that may be answered on the spot: its reply is soon gathered and soon written
_QUIET_SECONDS: Final = 0.5  # a stream that is told to end does so when no request came for this long


class ReplyStream:
    """Reads requests, gathers and writes replies in a task each, so that one lookup is gathered while another is sent.

    Requests are read ahead and begun in fair turns: the many pieces of a large fetch hold up a small one that comes
    behind them no longer than those few take that were begun already. A small request that finds the stream idle is
    answered by the task that read it: each task that a lookup passes through costs it a turn of the event loop.

    `answer_at_once` returns the reply to a request, or None if that might wait for a disk; then `answer` is awaited,
    and later requests are answered meanwhile. `decode` raises LookupFailed for a message that cannot be read: such a
    one has no id to answer to, so the stream ends after the replies to those before it, and `unreadable` says why.
    """

    def __init__(
        self,
        context: Context,
        decode: Callable[[bytes], Request],
        answer_at_once: Callable[[Request], bytes | None],
        answer: Callable[[Request], Awaitable[bytes]],
    ) -> None:
        self.unreadable: LookupFailed | None = None
        self._context = context
        self._decode = decode
        self._answer_at_once = answer_at_once
        self._answer = answer
        self._requests: FairQueue[Request] = FairQueue(_MOST_BYTES_WAITING)
        self._replies: asyncio.Queue[bytes | None] = asyncio.Queue(_REPLIES_WAITING)
        self._slots = asyncio.Semaphore(_SLOW_LOOKUPS)
        self._reader: asyncio.Task[None] | None = None
        self._unwritten = 0  # requests that were read and whose replies are not yet written
        self._is_waiting = False  # for a request: only then can the stream be called quiet
        self._is_draining = False
        self._quiet: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Serve the stream until the client ends it or `drain` does.

        Raises CancelledError when the client has gone, as gRPC itself does.
        """
        client_has_gone = False
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write())
                async with asyncio.TaskGroup() as answers:
                    self._reader = answers.create_task(self._read())
                    answers.create_task(self._gather(answers))
                await self._replies.put(None)
        except* grpc.aio.InternalError:  # raised by gRPC when there is nobody to write to any more
            client_has_gone = True
        if client_has_gone:
            await asyncio.sleep(0)  # gRPC may have cancelled us too: that one is delivered here, not on top of ours
            raise asyncio.CancelledError

    def drain(self) -> None:
        """End the stream once no more requests come; those that came are answered."""
        self._is_draining = True
        if self._is_waiting:
            self._end_when_quiet()

    def _end_when_quiet(self) -> None:
        if self._reader is not None:
            self._quiet = asyncio.get_running_loop().call_later(_QUIET_SECONDS, self._reader.cancel)

    async def _next_message(self) -> object:
        self._is_waiting = True
        if self._is_draining:
            self._end_when_quiet()
        try:
            return await self._context.read()
        finally:
            self._is_waiting = False
            if self._quiet is not None:
                self._quiet.cancel()

    async def _read(self) -> None:
        try:
            while isinstance(message := await self._next_message(), bytes):  # what is no bytes is the end
                request = self._decode(message)
                if not await self._answered_on_the_spot(request):
                    self._unwritten += 1
                    await self._requests.put(request, request.rows.nbytes)
        except LookupFailed as failed:
            self.unreadable = failed
        finally:
            self._requests.close()

    async def _answered_on_the_spot(self, request: Request) -> bool:
        if self._unwritten or request.rows.size > _SMALL_ROWS:
            return False
        reply = self._answer_at_once(request)
        if reply is None:
            return False
        await self._context.write(reply)  # nobody else writes: there is nothing else to be written
        return True

    async def _gather(self, answers: asyncio.TaskGroup) -> None:
        while (request := await self._requests.get()) is not None:
            reply = self._answer_at_once(request)
            if reply is not None:
                await self._replies.put(reply)
                await asyncio.sleep(0)  # to gather many in a row would keep other streams waiting
            else:
                await self._slots.acquire()
                answers.create_task(self._answer_slowly(request))

    async def _answer_slowly(self, request: Request) -> None:
        try:
            await self._replies.put(await self._answer(request))
        finally:
            self._slots.release()

    async def _write(self) -> None:
        while (reply := await self._replies.get()) is not None:
            await self._context.write(reply)
            self._unwritten -= 1
