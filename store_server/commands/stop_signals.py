"""SIGTERM and a closed terminal end a command as Ctrl-C does: what was opened is closed, what was begun removed."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


@contextmanager
def stop_signals_raise() -> Iterator[None]:
    """Raise SystemExit where SIGTERM or SIGHUP would end the process on the spot."""
    previous = {}
    if threading.current_thread() is threading.main_thread():  # others may not set handlers
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP on purpose
                previous[number] = signal.signal(number, _leave)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
