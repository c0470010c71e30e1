"""Whether a node is to be asked: it is left out when it fails or is far slower than others, and returns when tried."""

from __future__ import annotations

import math
from typing import Final

FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 30.0
_GOOD_TRIALS: Final = 3  # in a row, before a node returns
_MOST_GOOD_TRIALS: Final = 10
_REMEMBER_SECONDS: Final = 60.0  # how long a node that was left out must hold out until that is forgotten
_MOST_DOUBLINGS: Final = 10  # as many as lead to the longest pause
_FEW_REQUESTS: Final = 2  # at once, to a node that has just returned
_MANY_REQUESTS: Final = 64
_SLOW_ANSWERS: Final = 4
_TIMES_SLOWER: Final = 5.0
_SECONDS_SLOWER: Final = 0.005  # a unit: below that nobody would notice


class NodeHealth:
    """The breaker of one node. While it is not `ready`, nobody waits for it who has somebody else to ask.

    It is tried in the background then, after pauses that grow; a node that goes in and out has to be good more often
    before it returns.
    """

    def __init__(self) -> None:
        self.ready = True
        self.most_requests = math.inf
        """How many it should have under way: few after its return, and with each answer one more."""
        self._times_left_out = 0
        self._good_trials = 0
        self._pause = FIRST_PAUSE_SECONDS
        self._returned = -math.inf
        self._slow_answers = 0  # more than quick ones, of late

    def leave_out(self, now: float) -> bool:
        """Take note that the node failed; returns whether it was ready until now."""
        if not self.ready:
            self._good_trials = 0
            return False
        if now - self._returned > _REMEMBER_SECONDS:
            self._times_left_out = 0
        self.ready = False
        self._times_left_out += 1
        self._good_trials = self._slow_answers = 0
        # One that does well on trial, and not under load, is let in ever more rarely.
        self._pause = min(
            FIRST_PAUSE_SECONDS * 2 ** min(self._times_left_out - 1, _MOST_DOUBLINGS), LONGEST_PAUSE_SECONDS
        )
        return True

    def is_slow_by_now(self, *, was_slow: bool) -> bool:
        """Take note of whether an answer was far slower than others; tells whether so many were that the node is slow.

        A few slow ones among many do not make a slow node: they are for hedges.
        """
        self._slow_answers = max(0, self._slow_answers + (1 if was_slow else -1))
        return self._slow_answers >= _SLOW_ANSWERS

    def let_in_more(self) -> None:
        """Take note of an answer: so a node that has returned gets twice as many requests in each round trip."""
        self.most_requests += 1
        if self.most_requests > _MANY_REQUESTS:
            self.most_requests = math.inf

    def tried(self, *, is_good: bool, now: float) -> None:
        """Take note of how a trial went; after enough good ones in a row the node is ready."""
        if not is_good:
            self._good_trials = 0
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
            return
        self._good_trials += 1
        self._pause = FIRST_PAUSE_SECONDS
        if self._good_trials >= min(_GOOD_TRIALS * self._times_left_out, _MOST_GOOD_TRIALS):
            self.ready = True
            self.most_requests = _FEW_REQUESTS
            self._returned = now

    @property
    def pause(self) -> float:
        """Seconds until it should be tried again."""
        return self._pause


def is_outlier(seconds: float, usual: float) -> bool:
    """Tell whether a node that takes `seconds` for a unit of work is far slower than is usual."""
    return seconds > _TIMES_SLOWER * usual and seconds > usual + _SECONDS_SLOWER
