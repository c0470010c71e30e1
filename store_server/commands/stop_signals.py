"""SIGTERM and a closed terminal end a command as Ctrl-C does: what was opened is closed, what was begun removed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from types import FrameType

_Result = TypeVar("_Result")
_STOP: Final = (signal.SIGTERM, signal.SIGHUP)
_AGAIN_SECONDS: Final = 0.1  # long enough to leave where nothing can be raised, also on a busy core


class _Told(SystemExit):
    """By a signal to end."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


@contextmanager
def stop_signals_raise() -> Iterator[None]:
    """Raise SystemExit where SIGTERM or SIGHUP would end the process on the spot."""
    with _nothing_lost(), _raising():
        yield


@contextmanager
def _raising() -> Iterator[None]:
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


@contextmanager
def _nothing_lost() -> Iterator[None]:
    """Send a signal again that was raised where nothing can be raised.

    Python calls weak references and finalizers back amid whatever it does, hundreds of times while it imports what a
    command needs, and forgets what is raised there.
    """
    before = sys.unraisablehook

    def unraisable(lost: sys.UnraisableHookArgs) -> None:
        number = _number_of(lost.exc_value)
        if number is None:
            before(lost)
        while number is not None:
            try:
                _send_soon(number)
                number = None
            except (_Told, KeyboardInterrupt) as told:  # it came again already, or another did
                number = _number_of(told)

    sys.unraisablehook = unraisable
    try:
        yield
    finally:
        sys.unraisablehook = before


def _number_of(error: BaseException | None) -> int | None:
    """Return the signal that raised an error, None if none did."""
    if isinstance(error, _Told):
        return error.number
    return signal.SIGINT if isinstance(error, KeyboardInterrupt) else None


def _send_soon(number: int) -> None:
    again = threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


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
    raise _Told(number)
