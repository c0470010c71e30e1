"""A limit to the lines of a log that callers can cause."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class LineLimit:
    """Lets so many lines through in a second, and counts the others."""

    def __init__(self, lines_a_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = lines_a_second
        self._clock = clock
        self._second_ends = 0.0
        self._lines = 0
        self._left_out = 0

    def take(self) -> int | None:
        """Return how many lines were left out before this one, None if this one is to be left out, too."""
        now = self._clock()
        if now >= self._second_ends:
            self._second_ends, self._lines = now + 1.0, 0
        if self._lines >= self._most:
            self._left_out += 1
            return None
        self._lines += 1
        left_out, self._left_out = self._left_out, 0
        return left_out
