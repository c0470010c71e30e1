"""SIGTERM and a closed terminal end a command as Ctrl-C does: what was opened is closed, what was begun removed."""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from types import FrameType

_Result = TypeVar("_Result")
_STOP: Final = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stop_signals_raise() -> Iterator[None]:
    """Raise SystemExit where SIGTERM or SIGHUP would end the process on the spot."""
    previous = {}
    if threading.current_thread() is threading.main_thread():  # others may not set handlers
        for number in _STOP:
            if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP on purpose
                previous[number] = signal.signal(number, _leave)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def run_stoppable(work: Coroutine[object, object, _Result]) -> _Result:
    """Run a coroutine as asyncio.run does; where `stop_signals_raise` would raise, it is cancelled, as by Ctrl-C.

    An exception amid whatever the event loop does just then, gRPC among it, may break that, or be lost.
    """
    received: list[int] = []

    async def stoppable() -> _Result:
        loop, working = asyncio.get_running_loop(), asyncio.create_task(work)

        def stop(number: int) -> None:
            received.append(number)
            working.cancel()

        numbers = [number for number in _STOP if signal.getsignal(number) is _leave]
        for number in numbers:
            loop.add_signal_handler(number, stop, number)
        try:
            return await working
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)
                signal.signal(number, _leave)

    try:
        return asyncio.run(stoppable())
    except asyncio.CancelledError:
        if received:
            raise SystemExit(128 + received[0]) from None
        raise


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
