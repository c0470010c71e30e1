"""What the tries of clients come to, beside what they have to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from overload.attempts import Tries

LEAST_GOODPUT = 0.8  # of the peak
MOST_P99 = 5.0  # times calm
MOST_GROWTH = 0.1  # of the node's memory
MOST_RECOVERY_SECONDS = 2.0
LEAST_SHARE = 0.5  # of a fair one


@dataclass(frozen=True)
class Bar:
    """One figure and what it has to be: at least `bar`, or at most."""

    name: str
    figure: float
    bar: float
    is_least: bool = False

    @property
    def is_met(self) -> bool:
        return self.figure >= self.bar if self.is_least else self.figure <= self.bar

    def line(self) -> str:
        verdict, limit = "met" if self.is_met else "MISSED", "at least" if self.is_least else "at most"
        return f"{verdict:<7}{self.name:<62}{self.figure:>9.3f}   {limit} {self.bar:g}"


class Measured:
    """The tries of several clients together; times are seconds of the host's clock."""

    def __init__(self, tries: Sequence[Tries]) -> None:
        self.began = np.concatenate([np.array(each.began) for each in tries])
        self.took = np.concatenate([np.array(each.took) for each in tries])
        self.ended = np.concatenate([np.array(each.ended, dtype="U8") for each in tries])
        self.failures = [failure for each in tries for failure in each.failures]

    def number(self, ended: str) -> int:
        return int((self.ended == ended).sum())

    def per_second(self, begins: float, seconds: float) -> float:
        """Right answers that came in a span of time, by the second."""
        came = (self.began + self.took)[self.ended == "right"]
        return float(((came >= begins) & (came < begins + seconds)).sum() / seconds)

    def p99(self, begins: float = 0.0, ends: float = np.inf) -> float:
        """Seconds that all but one in a hundred of the right answers took, of tries that began in a span of time."""
        took = self.took[(self.ended == "right") & (self.began >= begins) & (self.began < ends)]
        return float(np.quantile(took, 0.99)) if len(took) else float("inf")


def least_beside_refusals(measured: Measured) -> float:
    """Return how many accepted tries were under way beside each refused one, at least; infinite where none was refused.

    Each of those that a node held when it refused had begun before its refusal came and ended after that was asked for:
    a node that refuses before it is full shows here, however slow the cores are.
    """
    is_right, is_refused = measured.ended == "right", measured.ended == "refused"
    began, ended = np.sort(measured.began[is_right]), np.sort((measured.began + measured.took)[is_right])
    asked = measured.began[is_refused]
    begun_by_then = np.searchsorted(began, asked + measured.took[is_refused], side="right")
    over_before = np.searchsorted(ended, asked, side="left")
    return float(min(begun_by_then - over_before, default=np.inf))


def seconds_to_recover(calm_again: Measured, from_: float, calm_p99: float, *, window_seconds: float = 0.5) -> float:
    """Return after how many seconds tries take no longer than twice what they took when all was calm."""
    for number in range(40):
        begins = from_ + number * window_seconds
        if calm_again.p99(begins, begins + window_seconds) <= 2 * calm_p99:
            return number * window_seconds
    return float("inf")
