"""Whether a worker that died is started again, and when."""

from __future__ import annotations

from typing import Final

FIRST_DELAY_SECONDS: Final = 0.1
LONGEST_DELAY_SECONDS: Final = 5.0
STEADY_SECONDS: Final = 60.0
"""A worker that lived for so long was sound: its death is the first again."""
MOST_DEATHS: Final = 5


class Restarts:
    """Counts the deaths of one worker that came soon one after the other."""

    def __init__(self) -> None:
        self.deaths = 0

    def delay_after(self, lived_seconds: float) -> float | None:
        """Return the seconds until the worker is to be started again, None when it has died too often."""
        self.deaths = 1 if lived_seconds >= STEADY_SECONDS else self.deaths + 1
        if self.deaths >= MOST_DEATHS:
            return None
        return float(min(FIRST_DELAY_SECONDS * 2 ** (self.deaths - 1), LONGEST_DELAY_SECONDS))
