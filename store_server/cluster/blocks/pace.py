"""A set number of bytes a second, for work that must leave the disk and the network to lookups."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

_MOST_BEHIND_SECONDS: Final = 1.0  # what was not used for longer is not made up for


class Pace:
    """Waits between pieces of work. `bytes_per_second` None is no limit. `now` is a clock in seconds."""

    def __init__(self, bytes_per_second: float | None, now: Callable[[], float] = time.monotonic) -> None:
        if bytes_per_second is not None and bytes_per_second <= 0:
            raise ValueError(f"bytes_per_second must be above 0, got {bytes_per_second:g}")
        self._bytes_per_second = bytes_per_second
        self._now = now
        self._next = now()

    def wait(self, num_bytes: int, stop: threading.Event) -> bool:
        """Wait for as long as so many bytes, which were just moved, may take; True at once when `stop` is set."""
        if self._bytes_per_second is None:
            return stop.is_set()
        now = self._now()
        self._next = max(self._next, now - _MOST_BEHIND_SECONDS) + num_bytes / self._bytes_per_second
        return stop.wait(max(0.0, self._next - now))
