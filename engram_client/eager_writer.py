"""Writes that begin at once, in the middle of whoever asks for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any


class EagerWriter:
    """Writes what `next_message` gives, one message after another, until it gives None; `wake` makes it ask again.

    A task would do the same a turn of the event loop later: a task only begins in the next turn, and so does one that
    is told by a queue. A small lookup that finds its stream idle should not wait for that. So the coroutine of a write
    is run by hand: on the spot up to where it has to wait, and on from there once what it waits for is done. As it is
    nobody's task, nobody can cancel it either, which gRPC would take for the end of the whole call.

    A write that raises one of `ended_by`, or is cancelled from inside, is the last one. So is one that raises anything
    else, which `failed` is told: nothing will be written any more, and nobody else knows.
    """

    def __init__(
        self,
        write: Callable[[bytes], Awaitable[None]],
        next_message: Callable[[], bytes | None],
        ended_by: tuple[type[Exception], ...],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._write = write
        self._next_message = next_message
        self._ended_by = (*ended_by, asyncio.CancelledError)
        self._failed = failed
        self._writing: Generator[Any, None, None] | None = None
        self._has_ended = False

    def wake(self) -> None:
        """Write, unless a write is under way, which will be followed by others, or was the last one."""
        if self._writing is None and not self._has_ended:
            self._go_on()

    def _go_on(self, _done: object = None) -> None:
        """Write until something has to be waited for, or nothing is left to write."""
        try:
            while (writing := self._writing or self._begin()) is not None:
                for awaited in writing:
                    _when_done(awaited, self._go_on)
                    return
                self._writing = None
        except BaseException as error:
            self._writing, self._has_ended = None, True
            if isinstance(error, self._ended_by):
                return
            self._failed(error)
            if not isinstance(error, Exception):  # an interrupt, say, is for the whole program
                raise

    def _begin(self) -> Generator[Any, None, None] | None:
        message = self._next_message()
        if message is not None:
            self._writing = self._write(message).__await__()
        return self._writing


def _when_done(awaited: asyncio.Future[object] | None, go_on: Callable[[object], None]) -> None:
    """Call `go_on` once what a coroutine awaits is done, as a task would go on then."""
    if awaited is None:  # it only lets others have their turn
        asyncio.get_running_loop().call_soon(go_on, None)
    else:
        awaited._asyncio_future_blocking = False  # what tasks tell a future that they have understood to wait for
        awaited.add_done_callback(go_on)
