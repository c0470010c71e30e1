"""An event loop in a thread of its own, for callers that have none."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, Generic, TypeAlias, TypeVar

from engram_client.errors import ForkedProcess, StoreClosed, TimeLimitExceeded
from engram_client.fork import ForkGuard

_Result = TypeVar("_Result")
_Call: TypeAlias = Callable[[], None]
_SECONDS_TO_END: Final = 1.0  # for what was cancelled to end; it waits for nobody else by then


class _ThisThread(threading.local):
    """The calls that this thread has put off, by their loops; None while it puts nothing off."""

    put_off: dict[asyncio.AbstractEventLoop, list[_Call]] | None = None


_this_thread = _ThisThread()


@contextlib.contextmanager
def begun_together() -> Iterator[None]:
    """Let what this thread starts in the block begin when it ends.

    Whoever wakes a loop's thread is kept waiting by it, as both need the interpreter: for several jobs that take little
    time to start, once is enough. Nothing that was started in the block may be waited for there.
    """
    if _this_thread.put_off is not None:
        yield
        return
    put_off: dict[asyncio.AbstractEventLoop, list[_Call]] = {}
    _this_thread.put_off = put_off
    try:
        yield
    finally:
        _this_thread.put_off = None
        for loop, calls in put_off.items():
            loop.call_soon_threadsafe(_call_all, calls)


def _call(loop: asyncio.AbstractEventLoop, call: _Call) -> None:
    """Have a loop make a call, in the order in which this thread asks for them."""
    if _this_thread.put_off is None:
        loop.call_soon_threadsafe(call)
    else:
        _this_thread.put_off.setdefault(loop, []).append(call)


def _call_all(calls: list[_Call]) -> None:
    for call in calls:
        call()


class Job(Generic[_Result]):
    """A coroutine that runs on the loop. `future` is resolved when it has really ended, also after a cancel.

    It is cancelled where `cancel` did that; what the end of the loop cancels has failed with StoreClosed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, _Result]) -> None:
        self.future: concurrent.futures.Future[_Result] = concurrent.futures.Future()
        self._loop = loop
        self._coroutine = coroutine
        self._task: asyncio.Task[_Result] | None = None
        self._cancel_asked = False
        self._context = contextvars.copy_context()  # that of who asks: a span of its own, for one
        _call(loop, self._begin)

    def request_cancel(self) -> None:
        """Cancel the coroutine and return at once: the loop does it when it comes to that."""
        if not self.future.done():
            self._cancel_asked = True
            _call(self._loop, self._cancel)

    def cancel(self, seconds: float = _SECONDS_TO_END) -> bool:
        """Cancel the coroutine and wait until it has ended; False if it had ended already.

        Raises TimeLimitExceeded if it has not ended within `seconds`: it still runs then.
        """
        if self.future.done():
            return False
        self.request_cancel()
        if not concurrent.futures.wait((self.future,), seconds).done:
            raise TimeLimitExceeded(f"what was cancelled has not ended within {seconds:g} s")
        return self.future.cancelled()

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._coroutine, context=self._context)
        self._task.add_done_callback(self._end)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _end(self, task: asyncio.Task[_Result]) -> None:
        if task.cancelled() and self._cancel_asked:
            self.future.cancel()
            self.future.set_running_or_notify_cancel()
        elif task.cancelled():
            self.future.set_exception(StoreClosed("the store was closed"))
        elif (error := task.exception()) is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(task.result())


class LoopThread:
    """Runs coroutines for any number of threads until it is closed."""

    def __init__(self) -> None:
        self._guard = ForkGuard()
        self._loop = _idle_or_new_loop()
        self._lock = threading.Lock()  # nothing is started on a loop that is being closed
        self._closing: Job[None] | None = None

    def start(self, coroutine: Coroutine[Any, Any, _Result]) -> Job[_Result]:
        """Run `coroutine` and return at once. Raises StoreClosed, or ForkedProcess in a forked child."""
        try:
            self._guard.check()
        except ForkedProcess:
            coroutine.close()
            raise
        with self._lock:
            if self._closing is None:
                return Job(self._loop, coroutine)
        coroutine.close()
        raise StoreClosed("the store is closed")

    def run(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        """Run `coroutine` and return its result. An interrupt (Ctrl-C) cancels it."""
        job = self.start(coroutine)
        try:
            return job.future.result()
        except BaseException:
            with contextlib.suppress(TimeLimitExceeded):  # it fills nobody's buffer
                job.cancel()
            raise

    def close(self, finish: Callable[[], Coroutine[Any, Any, None]], seconds: float) -> None:
        """Run `finish`, then cancel what still runs. Later calls, from any thread, wait for the end of the first.

        Raises TimeLimitExceeded when `finish` takes more than `seconds`; what still runs is cancelled all the same.
        """
        self._guard.check()
        with self._lock:
            if self._closing is None:
                self._closing = Job(self._loop, self._finish(finish, seconds))
        try:
            self._closing.future.result(seconds + 2 * _SECONDS_TO_END)
        except TimeoutError as error:
            raise TimeLimitExceeded(f"the store did not close within {seconds:g} s; it is given up") from error

    async def _finish(self, finish: Callable[[], Coroutine[Any, Any, None]], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await finish()
        finally:
            if await _others_ended():
                _idle_loops.append(self._loop)


# A loop is never closed, it goes to the next LoopThread. gRPC has one queue for all loops of a process, and may report
# the end of a call after its store was closed: a closed loop would make the report fail for whoever reads the queue.
_idle_loops: Final[collections.deque[asyncio.AbstractEventLoop]] = collections.deque()
os.register_at_fork(after_in_child=_idle_loops.clear)  # their threads are the parent's


def _idle_or_new_loop() -> asyncio.AbstractEventLoop:
    try:
        return _idle_loops.pop()
    except IndexError:
        loop = asyncio.new_event_loop()
    # A daemon, because a program that forgets to close a store must still be able to end.
    threading.Thread(target=loop.run_forever, name="engram-store-client", daemon=True).start()
    return loop


async def _others_ended() -> bool:
    """Cancel all other tasks of this loop; tell whether they have ended."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if not others:
        return True
    ended, running = await asyncio.wait(others, timeout=_SECONDS_TO_END)
    for task in ended:
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not log it
    return not running
