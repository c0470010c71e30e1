"""What a load client tells of the fetches that it made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

RIGHT, WRONG = "right", "wrong"
MOST_HEDGES_PERCENT = 5.0


class Fetch(NamedTuple):
    """One fetch: by the monotonic clock of the machine, which all of its processes share."""

    due: float
    seconds: float
    """From when it was due, not from when the client got round to it."""
    outcome: str
    """RIGHT, WRONG, or the error with which it failed."""

    @property
    def ended(self) -> float:
        return self.due + self.seconds


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How often nodes were asked for rows."""

    first: int
    """Requests for rows that nobody was asked for before."""
    hedges: int
    """Those for rows that another node was being asked for meanwhile."""
    after_failures: int
    """Those for rows that another request, which was over, had not brought: it failed or was given up."""
    trials: int
    """Those of no fetch, to find out whether a node that was left out answers."""

    @property
    def hedges_percent(self) -> float:
        """Of what a fetch asked otherwise, as the client's budget counts them."""
        return round(100 * self.hedges / (self.first + self.after_failures), 2)

    @property
    def extra_percent(self) -> float:
        """All but the first ones, of those."""
        return round(100 * (self.hedges + self.after_failures + self.trials) / self.first, 2)
