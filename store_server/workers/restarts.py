"""When a worker that died is started again, and whether that has become hopeless."""

from __future__ import annotations

from typing import Final

FIRST_DELAY_SECONDS: Final = 0.1
LONGEST_DELAY_SECONDS: Final = 5.0
STEADY_SECONDS: Final = 60.0
"""A worker that served for so long was sound: its death is the first again."""
MOST_DEATHS: Final = 5


class Restarts:
    """Counts the deaths of one worker that came soon one after the other."""

    def __init__(self) -> None:
        self.deaths = 0

    @property
    def are_hopeless(self) -> bool:
        """Whether it has died so often in a row that starting it once more is not likely to help."""
        return self.deaths >= MOST_DEATHS

    def delay_after(self, served_seconds: float, *, is_explained: bool = False) -> float:
        """Take note of a death; returns the seconds until the worker is to be started again.

        One that is explained, by a version that will be served no more, says nothing about the worker.
        """
        if served_seconds >= STEADY_SECONDS:
            self.deaths = 0
        if is_explained:
            return FIRST_DELAY_SECONDS
        self.deaths += 1
        if self.are_hopeless:
            return LONGEST_DELAY_SECONDS
        return float(min(FIRST_DELAY_SECONDS * 2 ** (self.deaths - 1), LONGEST_DELAY_SECONDS))
