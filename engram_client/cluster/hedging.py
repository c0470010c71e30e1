"""When to ask another replica too, before the first has failed: rarely, and within a budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from engram_client.cluster.latency import UsualLatency

_MOST_SAVED: Final = 50.0  # hedges, for the moment in which a node goes and all that was asked of it waits
_LENGTHEN, _SHORTEN = 1.1, 0.999
_LONGEST_FACTOR: Final = 10.0
_USUAL_SHARE: Final = 0.75  # of answers: what takes longer than these may be slow for a reason of its own
_TIMES_USUAL: Final = 3.0  # the seconds in which those come: what takes longer is slow


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeSettings:
    """How much may be asked twice, and after which time; and after which silence another is asked instead."""

    budget: float = 0.05
    """Requests that may be hedges, as a share of all others; 0 hedges never."""
    quantile: float = 0.95
    """A hedge is sent once this share of answers of its size would have come, or three times what most take."""
    least_delay_seconds: float = 0.001
    shortest_patience_seconds: float = 0.1
    longest_patience_seconds: float = 2.0
    """Before anything is known of how long answers take, and at most: silence after which a node is given up."""


class HedgeBudget:
    """Requests earn hedges: the sum of hedges never exceeds `budget` times that of requests, whatever their bytes."""

    def __init__(self, settings: HedgeSettings) -> None:
        self.requests = 0
        self.hedges = 0
        self.delay_factor = 1.0
        """How much longer to wait than `hedge_delay` says, since more wanted a hedge than could be had."""
        self._settings = settings
        self._saved = 0.0

    def count_request(self) -> None:
        """Take note of a request that is no hedge."""
        self.requests += 1
        self._saved = min(self._saved + self._settings.budget, _MOST_SAVED)
        self.delay_factor = max(1.0, self.delay_factor * _SHORTEN)

    def take(self, number: int) -> bool:
        """Tell whether `number` hedges may be sent now, and count them if so."""
        if number > self._saved:
            # Better to wait longer for all than to have none left for those that are really slow.
            self.delay_factor = min(_LONGEST_FACTOR, self.delay_factor * _LENGTHEN)
            return False
        self._saved -= number
        self.hedges += number
        return True


def hedge_delay(usual: UsualLatency, work: float, settings: HedgeSettings) -> float | None:
    """Return the seconds after which a request of so much work is hedged, None while it is unknown what is usual."""
    most, nearly_all = usual.quantile(work, _USUAL_SHARE), usual.quantile(work, settings.quantile)
    if not settings.budget or most is None or nearly_all is None:
        return None
    # Where one answer of twenty is slow, the quantile is that of the slow ones.
    return max(min(nearly_all, _TIMES_USUAL * most), settings.least_delay_seconds)
