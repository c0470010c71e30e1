"""An await that something begun later may overtake."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from engram_client.at_once import end
from engram_client.errors import EngramError


class Overtaking:
    """Runs its block; after `delay` seconds `begin` may return something else that does the same.

    The block ends with the first of the two that succeeds, and the other has ended by then; the error of the block is
    raised only when both have failed. Nothing is begun where `delay` is None or `begin` returns None. Costs a timer,
    and no task, as long as the block is quicker: it runs in the task of the caller, which is cancelled and called back
    as by asyncio.timeout. Made by the task that enters it.
    """

    def __init__(self, delay: float | None, begin: Callable[[], Coroutine[Any, Any, None] | None]) -> None:
        self._delay = delay
        self._begin = begin
        self._task = asyncio.current_task()
        self._timer: asyncio.TimerHandle | None = None
        self._other: asyncio.Task[None] | None = None
        self.has_overtaken = False
        """Whether what was begun later succeeded first."""
        self._is_over = False

    async def __aenter__(self) -> Self:
        if self._delay is not None and self._task is not None:
            self._cancelling = self._task.cancelling()
            self._timer = self._task.get_loop().call_later(self._delay, self._begin_other)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if self._timer is None:
            return False
        self._timer.cancel()
        if self._other is None:
            return False
        try:
            if self.has_overtaken and kind is asyncio.CancelledError and self._was_cancelled_by_us():
                return True
            self._is_over = True
            if isinstance(error, EngramError):
                await asyncio.wait((self._other,))
                return _succeeded(self._other)
            return False
        finally:
            await end((self._other,))

    def _begin_other(self) -> None:
        other = self._begin()
        if other is not None:
            self._other = asyncio.get_running_loop().create_task(other)
            self._other.add_done_callback(self._other_ended)

    def _other_ended(self, other: asyncio.Task[None]) -> None:
        if _succeeded(other) and not self._is_over and self._task is not None:
            self.has_overtaken = True
            self._task.cancel()

    def _was_cancelled_by_us(self) -> bool:
        return self._task is not None and self._task.uncancel() <= self._cancelling


def _succeeded(task: asyncio.Task[None]) -> bool:
    return not task.cancelled() and task.exception() is None
