"""Whether a step before the wire saves more time than it takes: measured while it runs, tried again now and then."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final

_FIRST_REST_WINDOWS: Final = 63
_LONGEST_REST_WINDOWS: Final = 511
_STEPS_A_WINDOW: Final = 16
_TRIED_SHARE: Final = 1 / 8
_REMEMBERED_ROWS: Final = 1 << 20


class Payoff:
    """Tells a step to step aside while it does not pay.

    The step takes part for a window of rows; the first half warms it up, the second is judged. If it took more time
    than it saved, it rests for 63 windows and tries again, resting twice as long after each further failure, up to
    511 windows. So a step that never pays costs, from the first rest on, a sixty-fourth of its price or less.

    A step that can be tried on a part of the rows may follow `share`: on trial, after each sixteenth of the window that
    it lost on, an eighth is enough to go on judging it.
    """

    def __init__(self, window_rows: int) -> None:
        self._window_rows = window_rows
        self._rest_windows = _FIRST_REST_WINDOWS
        self._rows_to_rest = 0
        self._rows_seen = 0
        self._gained_seconds = 0.0
        self._is_on_trial = True
        self._share = 1.0
        self._rows_in_step, self._gained_in_step = 0, 0.0

    @property
    def share(self) -> float:
        """Share of the rows that it is worth trying the step on; 1 once a window has paid."""
        return self._share

    @property
    def resting(self) -> bool:
        """Whether the step stands aside for now."""
        return self._rows_to_rest > 0

    def takes_part(self, rows: int) -> bool:
        """Tell whether the step is to be taken for a fetch of `rows`."""
        if self._rows_to_rest <= 0:
            return True
        self._rows_to_rest -= rows
        return False

    def record(self, rows: int, *, saved_seconds: float, spent_seconds: float) -> None:
        """Note what the step saved and took in a fetch of `rows` that it took part in.

        Where it was tried on a share of them, both are those of the share, divided by it.
        """
        self._follow(rows, saved_seconds - spent_seconds)
        is_warm = self._rows_seen >= self._window_rows // 2
        self._rows_seen += rows
        if is_warm:
            self._gained_seconds += saved_seconds - spent_seconds
        if self._rows_seen >= self._window_rows and is_warm:
            self._judge()

    def _follow(self, rows: int, gained_seconds: float) -> None:
        """Choose the share of the next sixteenth of a window by what this one gained."""
        self._rows_in_step += rows
        self._gained_in_step += gained_seconds
        if self._is_on_trial and self._rows_in_step * _STEPS_A_WINDOW >= self._window_rows:
            self._share = 1.0 if self._gained_in_step > 0 else _TRIED_SHARE
            self._rows_in_step, self._gained_in_step = 0, 0.0

    def _judge(self) -> None:
        self._is_on_trial = self._gained_seconds <= 0
        if self._gained_seconds > 0:
            self._share = 1.0
            self._rest_windows = _FIRST_REST_WINDOWS
        else:
            self._rows_to_rest = self._rest_windows * self._window_rows
            self._rest_windows = min(2 * self._rest_windows + 1, _LONGEST_REST_WINDOWS)
        self._rows_seen, self._gained_seconds = 0, 0.0


class Pace:
    """Seconds that a row takes on its way, all fetches that are under way together counted as one."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._under_way = 0
        self._since = 0.0
        self._busy_seconds = 0.0
        self._rows = 0

    @property
    def seconds_a_row(self) -> float:
        """The mean over the latest million rows or so; 0 before the first."""
        return self._busy_seconds / self._rows if self._rows else 0.0

    @contextlib.contextmanager
    def fetching(self, rows: int) -> Iterator[None]:
        """Time a fetch of `rows`, however it ends."""
        self.begin()
        try:
            yield
        finally:
            self.end(rows)

    def begin(self) -> None:
        """Note that a fetch goes out; `end` must follow."""
        self._pass_time()
        self._under_way += 1

    def end(self, rows: int) -> None:
        """Note that a fetch of `rows` has ended, however it did."""
        self._pass_time()
        self._under_way -= 1
        self._rows += rows
        if self._rows > _REMEMBERED_ROWS:
            self._rows //= 2
            self._busy_seconds /= 2

    def _pass_time(self) -> None:
        now = self._clock()
        if self._under_way:
            self._busy_seconds += now - self._since
        self._since = now


class Stopwatch:
    """Adds up the seconds of the parts of a coroutine in which it does not wait."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextlib.contextmanager
    def running(self, share: float = 1.0) -> Iterator[None]:
        """Add the time that the block takes, or a share of it."""
        began = time.perf_counter()
        yield
        self.seconds += share * (time.perf_counter() - began)
