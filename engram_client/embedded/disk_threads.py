"""Threads that wait for a disk, so that the event loop need not."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import queue
import threading
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

_MOST_THREADS: Final = 8  # each keeps a disk busy with many reads at once
_SECONDS_AT_EXIT: Final = 1.0
_Result = TypeVar("_Result")
_Work: TypeAlias = tuple["concurrent.futures.Future[Any]", Callable[[], Any]]
_Queue: TypeAlias = "queue.SimpleQueue[_Work | None]"


class DiskThreads:
    """A few threads of one store, begun when there is work for them.

    A thread that a disk never answers is lost, so none is shared with anybody else, and being daemons none holds up
    the end of the program, as those of asyncio.to_thread and ThreadPoolExecutor would.
    """

    def __init__(self, most: int = _MOST_THREADS) -> None:
        self._most = most
        self._waiting: set[asyncio.Future[Any]] = set()
        self._num_threads = 0
        self._have_none()

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """Return what `work` returns in a thread. Work that was not begun when this is cancelled never is."""
        future: concurrent.futures.Future[_Result] = concurrent.futures.Future()
        waiting = asyncio.wrap_future(future)
        self._waiting.add(waiting)
        try:
            self._queue_up((future, work))
            return await waiting
        finally:
            self._waiting.discard(waiting)

    def close(self) -> None:
        """End the threads that can be ended; what waits for any is cancelled."""
        for waiting in list(self._waiting):
            with contextlib.suppress(RuntimeError):  # its loop is closed: then nobody waits any more
                waiting.get_loop().call_soon_threadsafe(waiting.cancel)
        for _ in range(self._num_threads):
            self._queue.put(None)
        self._num_threads = 0

    def _queue_up(self, work: _Work) -> None:
        if self._pid != os.getpid():
            self._have_none()  # threads do not survive a fork
        self._queue.put(work)
        if not self._idle.acquire(blocking=False) and self._num_threads < self._most:
            self._num_threads += 1
            name = f"engram-store-disk-{self._num_threads}"
            threading.Thread(target=_serve, args=(self._queue, self._idle), name=name, daemon=True).start()

    def _have_none(self) -> None:
        self._pid = os.getpid()
        self._queue: _Queue = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)  # counts idle threads, until there are as many as there may be
        self._num_threads = 0

    def __del__(self) -> None:
        self.close()


def _serve(works: _Queue, idle: threading.Semaphore) -> None:
    while (some := works.get()) is not None:
        _do(*some)
        del some  # nothing is kept alive by an idle thread
        idle.release()


def _do(future: concurrent.futures.Future[_Result], work: Callable[[], _Result]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    _under_way.add(future)
    try:
        result = work()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
    finally:
        _under_way.discard(future)


# A daemon that comes out of NumPy when the interpreter is gone takes the whole process down (its frames are C++, which
# Python 3.11 ends threads through). So the end of the program waits, but not for a disk that never answers.
_under_way: Final[set[concurrent.futures.Future[Any]]] = set()
os.register_at_fork(after_in_child=_under_way.clear)
atexit.register(lambda: concurrent.futures.wait(list(_under_way), _SECONDS_AT_EXIT))
