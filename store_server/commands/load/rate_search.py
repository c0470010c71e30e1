"""The highest rate that keeps within a limit: which rate to try next, decided from what the last ones did."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

LOWEST_RATE: Final = 1.0
HIGHEST_RATE: Final = 1e6
_FACTOR: Final = 2.0


@dataclass(slots=True)
class RateSearch:
    """Doubles or halves the rate until one holds and one does not, then tries the (geometric) middle between them.

    It is done when the lowest rate that did not hold is at most (1 + tolerance) times the highest that did.
    """

    first: float
    tolerance: float
    highest_held: float | None = field(default=None, init=False)
    lowest_failed: float | None = field(default=None, init=False)

    def next_rate(self) -> float | None:
        """Return the fetches a second to try next; None when the search is over."""
        held, failed = self.highest_held, self.lowest_failed
        if held is None:
            return self._below(failed)
        if failed is None:
            return min(held * _FACTOR, HIGHEST_RATE) if held < HIGHEST_RATE else None
        return None if failed <= held * (1 + self.tolerance) else math.sqrt(held * failed)

    def tried(self, rate: float, *, held: bool) -> None:
        """Say what came out at the rate that was asked for last."""
        if held:
            self.highest_held = rate
        else:
            self.lowest_failed = rate

    def _below(self, failed: float | None) -> float | None:
        if failed is None:
            return self.first
        return max(failed / _FACTOR, LOWEST_RATE) if failed > LOWEST_RATE else None
