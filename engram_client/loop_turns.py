"""When a fetch that waited for nothing should let the event loop serve others."""

from __future__ import annotations

from typing import Final

SLICE_BYTES: Final = 1 << 20  # served without a break, in about a millisecond
_LEAST_BYTES_A_ROW: Final = 64  # a row costs at least a line of the processor's cache
_LEAST_BYTES_A_FETCH: Final = 1 << 13  # a turn costs as much as three of the smallest fetches: one for 128 of them


class LoopTurns:
    """Counts what was served without waiting, since the loop had its last turn.

    A caller whose fetches never wait would otherwise keep the loop to itself: no other task, time limit or
    cancellation would ever have its turn.
    """

    def __init__(self) -> None:
        self._served_bytes = 0

    def is_due(self, num_rows: int, row_bytes: int) -> bool:
        """Tell whether the loop should have a turn now, after a fetch that was served without waiting."""
        self._served_bytes += max(num_rows * max(row_bytes, _LEAST_BYTES_A_ROW), _LEAST_BYTES_A_FETCH)
        if self._served_bytes < SLICE_BYTES:
            return False
        self._served_bytes = 0
        return True


def rows_a_slice(row_bytes: int) -> int:
    """Return how many rows are served without a break."""
    return max(1, SLICE_BYTES // max(row_bytes, _LEAST_BYTES_A_ROW))
