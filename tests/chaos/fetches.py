"""What a load client tells of the fetches that it made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

RIGHT, WRONG = "right", "wrong"


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
    """Requests that were no hedges and did not follow a failure."""
    hedges: int
    """Those that the client allowed itself; a few were overtaken before they were sent."""
    in_all: int
    """With hedges, those after failures, and those that find out whether a node that was left out answers."""

    @property
    def hedges_percent(self) -> float:
        return round(100 * self.hedges / self.first, 2)

    @property
    def extra_percent(self) -> float:
        """Of all requests but the first ones."""
        return round(100 * (self.in_all - self.first) / self.first, 2)
