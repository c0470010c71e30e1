"""Which clients had far more than their share of the event loop of late."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_WINDOW_SECONDS: Final = 0.05
_GREEDY: Final = 1.2  # times an equal share: where one asks without end, others are left that much less than theirs


class Shares:
    """Counts what clients cost in windows of time; the last full one tells who is greedy. Belongs to the event loop.

    Alone, nobody is.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._window_ends = 0.0
        self._costs: dict[str, int] = {}
        self._greedy: frozenset[str] = frozenset()

    def count(self, client: str, cost: int) -> None:
        """Take note of what a client is given."""
        now = self._clock()
        if now >= self._window_ends:
            self._begin_window(now)
        self._costs[client] = self._costs.get(client, 0) + cost

    def has_more(self, client: str) -> bool:
        """Tell whether a client had more than its share, while others were there."""
        return client in self._greedy

    def _begin_window(self, now: float) -> None:
        is_recent = now < self._window_ends + _WINDOW_SECONDS
        costs = self._costs if is_recent else {}
        most = _GREEDY * sum(costs.values()) / max(1, len(costs))
        self._greedy = frozenset(client for client, cost in costs.items() if cost > most)
        self._costs = {}
        self._window_ends = now + _WINDOW_SECONDS
