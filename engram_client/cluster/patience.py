"""How long an answer is waited for before others are asked instead, which under overload only makes more work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from engram_client.cluster.hedging import HedgeSettings
    from engram_client.cluster.latency import UsualLatency

_OVER_USUAL: Final = 10.0
_BUDGET: Final = 0.05  # of the requests: so many may be given up
_FIRST_SAVED: Final = 10.0
_MOST_SAVED: Final = 50.0  # for the moment in which a node hangs


class PatienceBudget:
    """Requests earn what may be given up: where that is often, it is not a node that hangs, but all are slow.

    Whoever is asked instead would be the slower for it, and what was given up is mostly answered all the same.
    """

    def __init__(self) -> None:
        self._saved = _FIRST_SAVED

    def count_request(self) -> None:
        """Take note of a request that is no hedge."""
        self._saved = min(self._saved + _BUDGET, _MOST_SAVED)

    def take(self) -> bool:
        """Tell whether a request may be given up now, and count it if so."""
        if self._saved < 1:
            return False
        self._saved -= 1
        return True


class WaitingPatiently:
    """Ends its block with TimeoutError after `seconds` if it `may_end` then; else that is asked after as many more."""

    def __init__(self, seconds: float, may_end: Callable[[], bool]) -> None:
        self._seconds = seconds
        self._may_end = may_end
        self._limit = asyncio.timeout(None)
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        self._timer = self._loop.call_later(self._seconds, self._ask)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._limit.__aexit__(kind, error, traceback)

    def _ask(self) -> None:
        if self._may_end():
            self._limit.reschedule(self._loop.time())
        else:
            self._timer = self._loop.call_later(self._seconds, self._ask)


def patience(usual: UsualLatency, work: float, unit_seconds: float, settings: HedgeSettings) -> float:
    """Return the seconds after which a node that was asked for so much work is given up, and others are asked instead.

    Where it is not known how long answers of that size take, by the `unit_seconds` of work that are usual.
    """
    nearly_all = usual.quantile(work, settings.quantile)
    if nearly_all is None:
        return max(settings.longest_patience_seconds, _OVER_USUAL * unit_seconds * work)
    most = max(settings.longest_patience_seconds, 2 * nearly_all)
    return min(max(_OVER_USUAL * nearly_all, settings.shortest_patience_seconds), most)
