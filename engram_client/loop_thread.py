"""An event loop in a thread of its own, for callers that have none."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, Final, Generic, TypeVar

from engram_client.errors import ForkedProcess, StoreClosed
from engram_client.fork import ForkGuard

_Result = TypeVar("_Result")
_CLOSE_SECONDS: Final = 10.0


class Job(Generic[_Result]):
    """A coroutine that runs on the loop. `future` is resolved when it has really ended, also after a cancel."""

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, _Result]) -> None:
        self.future: concurrent.futures.Future[_Result] = concurrent.futures.Future()
        self._loop = loop
        self._coroutine = coroutine
        self._task: asyncio.Task[_Result] | None = None
        loop.call_soon_threadsafe(self._begin)

    def cancel(self) -> bool:
        """Cancel the coroutine and wait until it has ended; False if it had ended already."""
        if self.future.done():
            return False
        with contextlib.suppress(RuntimeError):  # the loop is closed: then nothing runs any more
            self._loop.call_soon_threadsafe(self._cancel)
            concurrent.futures.wait((self.future,), _CLOSE_SECONDS)
        return self.future.cancelled()

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._coroutine)
        self._task.add_done_callback(self._end)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _end(self, task: asyncio.Task[_Result]) -> None:
        if task.cancelled():
            self.future.cancel()
            self.future.set_running_or_notify_cancel()
        elif (error := task.exception()) is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(task.result())


class LoopThread:
    """Runs coroutines for any number of threads until it is closed."""

    def __init__(self, name: str) -> None:
        self._guard = ForkGuard()
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()  # nothing is started on a loop that is being closed
        self.open = True
        # A daemon, because a program that forgets to close a store must still be able to end.
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def start(self, coroutine: Coroutine[Any, Any, _Result]) -> Job[_Result]:
        """Run `coroutine` and return at once. Raises StoreClosed, or ForkedProcess in a forked child."""
        try:
            self._guard.check()
        except ForkedProcess:
            coroutine.close()
            raise
        with self._lock:
            if self.open:
                return Job(self._loop, coroutine)
        coroutine.close()
        raise StoreClosed("the store is closed")

    def run(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        """Run `coroutine` and return its result. An interrupt (Ctrl-C) cancels it."""
        job = self.start(coroutine)
        try:
            return job.future.result()
        except concurrent.futures.CancelledError:
            raise StoreClosed("the store was closed") from None
        except BaseException:
            job.cancel()
            raise

    def close(self) -> None:
        """Cancel what still runs and end the thread. May be called again."""
        self._guard.check()
        with self._lock:
            if not self.open:
                return
            self.open = False
        Job(self._loop, _cancel_others()).future.result(_CLOSE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_SECONDS)
        self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
