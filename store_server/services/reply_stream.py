"""One open LookupStream: requests are read as they come, replies written as they are ready."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import grpc

from store_server.failures import LookupFailed

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

_REPLIES_WAITING: Final = 4  # replies ready before the client takes them; more would only fill memory
_SLOW_LOOKUPS: Final = 16  # lookups of one stream that may wait for a disk at once
_QUIET_SECONDS: Final = 0.5  # a stream that is told to end does so when no request came for this long


class ReplyStream:
    """Reads requests and writes replies in two tasks, so that one lookup is gathered while another is sent.

    `answer_at_once` returns the reply to a message, or None if that might wait for a disk; then `answer` is awaited,
    and later requests are answered meanwhile. It raises LookupFailed for a message that cannot be read: such a one has
    no id to answer to, so the stream ends after the replies to those before it, and `unreadable` says why.
    """

    def __init__(
        self,
        context: Context,
        answer_at_once: Callable[[bytes], bytes | None],
        answer: Callable[[bytes], Awaitable[bytes]],
    ) -> None:
        self.unreadable: LookupFailed | None = None
        self._context = context
        self._answer_at_once = answer_at_once
        self._answer = answer
        self._replies: asyncio.Queue[bytes | None] = asyncio.Queue(_REPLIES_WAITING)
        self._slots = asyncio.Semaphore(_SLOW_LOOKUPS)
        self._reader: asyncio.Task[None] | None = None
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
                    self._reader = answers.create_task(self._read(answers))
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

    async def _read(self, answers: asyncio.TaskGroup) -> None:
        while isinstance(message := await self._next_message(), bytes):  # what is no bytes is the end
            try:
                reply = self._answer_at_once(message)
            except LookupFailed as failed:
                self.unreadable = failed
                return
            if reply is not None:
                await self._replies.put(reply)
            else:
                await self._slots.acquire()
                answers.create_task(self._answer_slowly(message))

    async def _answer_slowly(self, message: bytes) -> None:
        try:
            await self._replies.put(await self._answer(message))
        finally:
            self._slots.release()

    async def _write(self) -> None:
        while (reply := await self._replies.get()) is not None:
            await self._context.write(reply)
