"""Whether to say each n-gram of a call once: measured while it runs, apart for calls of each size."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from engram_client.payoff import Pace, Payoff

if TYPE_CHECKING:
    from typing import Literal

_LARGEST_WINDOW_ROWS: Final = 1 << 16
_WINDOW_CALLS: Final = 32
_PLAIN_CALLS: Final = 3  # of a size, before the first that says each n-gram once; the first of all warms up


class Repeats:
    """Decides for each fetch of a layer, and learns from what fetches took; any thread may ask and tell.

    Calls of sizes between two powers of two are judged together: text that is read in long chunks repeats itself, a
    decode step hardly does, and must not pay for looking.
    """

    def __init__(self, policy: Literal["if_it_pays", "always", "never"]) -> None:
        self._policy = policy
        self._sizes: dict[int, _Size] = {}
        self._pace = Pace()
        self._lock = threading.Lock()

    def say_once(self, num_rows: int) -> bool:
        """Tell whether to say each n-gram of a fetch of so many rows once."""
        if self._policy != "if_it_pays":
            return self._policy == "always"
        with self._lock:
            return self._size(num_rows).takes_part(num_rows)

    def begin(self) -> None:
        """Note that a fetch goes out; `end` must follow."""
        with self._lock:
            self._pace.begin()

    def end(self, num_rows: int) -> None:
        """Note that a fetch of so many rows has ended, however it did."""
        with self._lock:
            self._pace.end(num_rows)

    def record(self, num_rows: int, sent_rows: int, host_seconds: float, *, once: bool) -> None:
        """Note what a fetch took that was used.

        Args:
            num_rows: what the layer reads, repeats included.
            sent_rows: what was asked for.
            host_seconds: that went into hashing, decoding and unfolding.
            once: whether each n-gram was said once.
        """
        with self._lock:
            size = self._size(num_rows)
            if once:
                saved = (num_rows - sent_rows) * self._pace.seconds_a_row
                spent = host_seconds - num_rows * size.plain_seconds_a_row
                size.payoff.record(num_rows, saved_seconds=saved, spent_seconds=spent)
            else:
                size.record_plain(num_rows, host_seconds)

    def _size(self, num_rows: int) -> _Size:
        bits = num_rows.bit_length()
        if bits not in self._sizes:
            self._sizes[bits] = _Size(min(_WINDOW_CALLS << bits, _LARGEST_WINDOW_ROWS))
        return self._sizes[bits]


class _Size:
    """Fetches of about so many rows."""

    def __init__(self, window_rows: int) -> None:
        self.payoff = Payoff(window_rows)
        self._plain_calls = 0
        self._plain_rows = 0
        self._plain_seconds = 0.0

    @property
    def plain_seconds_a_row(self) -> float:
        """What a row takes on the host, the mean of plain fetches."""
        return self._plain_seconds / self._plain_rows if self._plain_rows else 0.0

    def takes_part(self, num_rows: int) -> bool:
        return num_rows > 0 and self._plain_calls >= _PLAIN_CALLS and self.payoff.takes_part(num_rows)

    def record_plain(self, num_rows: int, host_seconds: float) -> None:
        self._plain_calls += 1
        if self._plain_calls > 1:
            self._plain_rows += num_rows
            self._plain_seconds += host_seconds
        if self._plain_calls > 2 * _PLAIN_CALLS and self._plain_calls % _PLAIN_CALLS == 0:  # forget slowly
            self._plain_rows, self._plain_seconds = max(1, self._plain_rows // 2), self._plain_seconds / 2
