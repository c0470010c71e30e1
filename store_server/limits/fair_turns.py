"""Turns that clients take, of which each gets its share while others wait."""

from __future__ import annotations

import asyncio
import heapq
import itertools


class FairTurns:
    """Lets `turns` clients at a time have a turn, in the order of start-time fair queueing (Goyal, Vin, Cheng, 1996).

    Each turn has a cost, such as the bytes that it moves. The clock stands where the turn began that was handed out
    last; a client's next turn begins where its last one ended, or by the clock if that is later. So who asks a hundred
    times at once waits for itself, and one who asks now and then is next. Once nobody has a turn or waits for one, all
    is forgotten. Belongs to the event loop.
    """

    def __init__(self, turns: int) -> None:
        self._turns = self._free = turns
        self._clock = 0.0
        self._ends: dict[str, float] = {}  # of clients whose last turn ended, or will end, after the clock
        self._arrivals = itertools.count()
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []

    @property
    def waiting(self) -> int:
        """How many wait for a turn."""
        return len(self._waiting)

    async def take(self, client: str, cost: int) -> None:
        """Wait for a turn, which has to be given back."""
        begins = max(self._clock, self._ends.get(client, 0.0))
        self._ends[client] = begins + cost
        if self._free and not self._waiting:
            self._hand_out(begins)
            return
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (begins, next(self._arrivals), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it came at the same moment
                self.give()
            raise

    def give(self) -> None:
        """Let the next one have a turn."""
        self._free += 1
        while self._free and self._waiting:
            begins, _, turn = heapq.heappop(self._waiting)
            if not turn.done():  # else who waited has gone
                self._hand_out(begins)
                turn.set_result(None)

        if self._free == self._turns:
            self._ends.clear()
            self._clock = 0.0

    def _hand_out(self, begins: float) -> None:
        self._free -= 1
        self._clock = begins
