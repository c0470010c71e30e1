"""Lookups that wait their turn: small ones need not wait for all the pieces of a large fetch before them."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class FairQueue(Generic[_Item]):
    """Hands out first what would end first if all that waits were served at once, a byte of each in turn.

    This is fair queueing (Demers, Keshav and Shenker, 1989) with each lookup a flow of its own. The clock counts the
    turns, and a lookup would end after as many turns as it has bytes. So a small one overtakes larger ones that came
    earlier, and a large one still gets its share of the bytes while small ones come without end.

    One task puts, one gets. How much may wait is for others to say.
    """

    def __init__(self) -> None:
        self._clock = 0.0
        self._arrivals = itertools.count()
        self._waiting: list[tuple[float, int, int, _Item]] = []  # end by the clock, arrival, bytes, item
        self._is_closed = False
        self._changed = asyncio.Event()

    def put(self, item: _Item, num_bytes: int) -> None:
        """Add an item that takes `num_bytes` to serve, at least one."""
        heapq.heappush(self._waiting, (self._clock + num_bytes, next(self._arrivals), num_bytes, item))
        self._changed.set()

    async def get(self) -> _Item | None:
        """Take the next item, once there is one; None when the queue was closed and is empty."""
        while not self._waiting:
            if self._is_closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        in_turn = len(self._waiting)
        _, _, num_bytes, item = heapq.heappop(self._waiting)
        self._clock += num_bytes / in_turn
        return item

    def close(self) -> None:
        """Take nothing more; what waits is still handed out."""
        self._is_closed = True
        self._changed.set()
