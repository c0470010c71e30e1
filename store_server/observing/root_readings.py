"""What a node shows of the place where its data root lies, which may be a disk that does not answer."""

from __future__ import annotations

import math
import os
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from store_server.storage.writable import why_not_written

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from store_server.observing.readings import Readings

_LOOK_SECONDS: Final = 30.0
_WAIT_SECONDS: Final = 0.25  # for a look: all that a worker shows has to come within a second
_STUCK_SECONDS: Final = 5.0


class RootState(NamedTuple):
    """What one look at a data root found."""

    all_bytes: int
    free_bytes: int
    is_writable: bool


def look_at(root: Path) -> RootState:
    """Ask the disk, and write to it. Raises OSError; waits for the disk."""
    found = os.statvfs(root)
    return RootState(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, why_not_written(root) is None)


class _Found(NamedTuple):
    """What all looks so far have found: the newest state, and how the last one failed."""

    state: RootState | None = None
    failure: tuple[object, ...] | None = None


class RootReadings:
    """Looks at a data root every 30 s, in threads that nobody waits for when the disk does not answer. For any thread.

    A disk that has not answered for 5 s takes no writes either; its sizes are those that were seen last. Who asks first
    waits for a look as long as `wait_seconds`, others have what was seen before.
    """

    def __init__(
        self,
        root: Path,
        *,
        look: Callable[[Path], RootState] = look_at,
        now: Callable[[], float] = time.monotonic,
        wait_seconds: float = _WAIT_SECONDS,
    ) -> None:
        self._root = root
        self._look = look
        self._now = now
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._found = _Found()
        self._looking = threading.Thread()  # none yet
        self._began = -math.inf

    def newest(self) -> RootState:
        """Return what was seen last. Raises OSError where there is no such place, or nothing was seen yet."""
        with self._lock:
            is_due = not self._looking.is_alive() and self._now() >= self._began + _LOOK_SECONDS
            if is_due:
                self._began = self._now()
                self._looking = threading.Thread(target=self._look_once, name="root", daemon=True)
                self._looking.start()
            looking = self._looking
        if is_due:
            looking.join(self._wait_seconds)
        found = self._found
        if found.failure is not None:
            raise OSError(*found.failure)  # a new one each time: one that is kept grows with each who raises it
        if found.state is None:
            raise TimeoutError(f"{self._root} was not seen yet: its disk does not answer")
        is_stuck = looking.is_alive() and self._now() >= self._began + _STUCK_SECONDS
        return found.state._replace(is_writable=False) if is_stuck else found.state

    def _look_once(self) -> None:
        try:
            self._found = _Found(self._look(self._root))
        except OSError as error:
            self._found = _Found(self._found.state, (error.errno, error.strerror, error.filename))


def read_root(root: Path, readings: Readings) -> None:
    """Show how large it is, how much can still be written there, and whether anything can."""
    looks = RootReadings(root)

    def is_writable() -> bool:
        try:
            return looks.newest().is_writable
        except OSError:
            return False

    readings.gauge(
        "engram_root_bytes",
        "Size of the file system that the data root lies on.",
        lambda: looks.newest().all_bytes,
    )
    readings.gauge(
        "engram_root_free_bytes",
        "Bytes that can still be written below the data root.",
        lambda: looks.newest().free_bytes,
    )
    readings.gauge(
        "engram_root_writable", "Whether the data root can be written to, tried twice a minute.", is_writable
    )
