"""Turns at a directory, taken by threads and processes alike."""

from __future__ import annotations

import fcntl
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from store_server.storage.errors import StorageFailure

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST_WAIT_SECONDS: Final = 60.0  # a turn is a few megabytes written and synced
_LOOK_SECONDS: Final = 0.01


@contextmanager
def turn_at(descriptor: int, path: Path, longest_wait_seconds: float = _LONGEST_WAIT_SECONDS) -> Iterator[None]:
    """Hold the lock of an open directory as long as the block lasts. The lock belongs to the opening.

    Raises StorageFailure when others do not let go of it.
    """
    deadline, pause = time.monotonic() + longest_wait_seconds, threading.Event()
    while not _taken(descriptor):
        if time.monotonic() >= deadline:
            raise StorageFailure(path, f"is being changed by another process for more than {longest_wait_seconds:g} s")
        pause.wait(_LOOK_SECONDS)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
