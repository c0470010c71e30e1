"""Whether some client had more than its share of the event loop of late."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_WINDOW_SECONDS: Final = 0.05
_UNEVEN: Final = 1.2  # times an equal share


class Shares:
    """Counts what clients cost in windows of time; the last full one tells. Belongs to the event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._window_ends = 0.0
        self._costs: dict[str, int] = {}
        self.are_uneven = False
        """Whether one client had more than its share, while others were there."""

    def count(self, client: str, cost: int) -> None:
        """Take note of what a client is given."""
        now = self._clock()
        if now >= self._window_ends:
            self._begin_window(now)
        self._costs[client] = self._costs.get(client, 0) + cost

    def _begin_window(self, now: float) -> None:
        is_recent = now < self._window_ends + _WINDOW_SECONDS
        costs = self._costs if is_recent else {}
        self.are_uneven = len(costs) > 1 and max(costs.values()) > _UNEVEN * sum(costs.values()) / len(costs)
        self._costs = {}
        self._window_ends = now + _WINDOW_SECONDS
