"""One fetch of one layer's rows into one slot, for one rank or for several."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol

from engram_client.errors import TimeLimitExceeded

if TYPE_CHECKING:
    from engram_client.formats import RowFormat
    from engram_model.prefetch.device_copy import DeviceCopy
    from engram_model.prefetch.ring import StagingRing
    from engram_model.prefetch.staging import Part, Staged
    from engram_model.store_memory import PendingRows

_SECONDS_BEYOND_THE_LIMIT = 1.0  # for a fetch to report that it has ended


class Report(Protocol):
    """Whom a fetch tells how it went."""

    def ended(self) -> None:
        """It has ended, however it did."""
        ...

    def used(self, host_seconds: float) -> None:
        """All ranks have decoded its rows, which took so long on the host."""
        ...


class LayerFetch:
    """Rows of one layer on their way; every rank takes or discards its part once.

    When the last has done so, the fetch is told to end if it still goes on, and the slot goes back to the ring.
    """

    def __init__(
        self,
        pending: PendingRows,
        row_format: RowFormat,
        staged: Staged,
        ring: StagingRing,
        timeout_seconds: float,
        report: Report,
    ) -> None:
        self.row_format = row_format
        self.sent_at = time.perf_counter()
        self.arrived_at = 0.0
        """When the fetch ended, as time.perf_counter()."""
        self._limit_at = self.sent_at + timeout_seconds + _SECONDS_BEYOND_THE_LIMIT
        self._pending = pending
        self._slot, self._parts = staged.slot, staged.parts
        self._is_given_back = False
        self._missed_turn: bool | None = None
        self._ring = ring
        self._report = report
        self._host_seconds = 0.0
        self._times_used = 0
        self._copies: list[DeviceCopy | None] = [None] * len(staged.parts)
        self._unfinished = set(range(len(staged.parts)))
        self._lock = threading.Lock()
        self._landed = threading.Event()
        pending.add_done_callback(self._land)

    def is_done(self) -> bool:
        """Tell whether the fetch has ended."""
        return self._pending.done()

    def missed_turn(self) -> bool:
        """Tell whether the fetch had not ended at the turn of the first rank that came: one verdict for all ranks."""
        with self._lock:
            if self._missed_turn is None:
                self._missed_turn = not self._pending.done()
            return self._missed_turn

    def wait(self, timeout: float | None) -> None:
        """Wait until the rows have landed; the fetch's own time limit holds in any case.

        Raises what the fetch raised; TimeLimitExceeded if it has not ended.
        """
        left = self._limit_at - time.perf_counter()
        limit = left if timeout is None else min(timeout, left)
        if not self._landed.wait(max(0.0, limit)):
            raise TimeLimitExceeded(
                f"the rows were not there {time.perf_counter() - self.sent_at:.3g} s after they were asked for; the "
                "fetch is given up. The settings' timeout_seconds is its limit"
            )
        self._pending.result(0)

    def part(self, rank: int) -> Part:
        """Return what a rank reads."""
        return self._parts[rank]

    def copy_for(self, rank: int) -> DeviceCopy:
        """Return a rank's rows on their way to its device, after `wait`."""
        with self._lock:
            return self._copy_once(rank)

    def was_used(self, host_seconds: float) -> None:
        """Note what a rank took to decode its rows; when all have, the fetch is reported."""
        with self._lock:
            self._times_used += 1
            self._host_seconds += host_seconds
            all_have = self._times_used == len(self._parts)
        if all_have:
            self._report.used(self._host_seconds)

    def finish(self, rank: int) -> None:
        """Have done with a rank's part, without waiting; whatever arrives later touches nothing of anybody's."""
        with self._lock:
            self._unfinished.discard(rank)
            if self._unfinished or self._is_given_back:
                return
            self._is_given_back = True
        try:
            if not self._pending.done():
                self._pending.request_cancel()
        finally:  # an interrupt must not cost the slot, which rests until the fetch has really ended
            self._ring.give_back(self._slot, self._is_quiet)

    def _is_quiet(self) -> bool:
        return self._pending.done() and all(copy is None or copy.is_over() for copy in self._copies)

    def _land(self) -> None:
        """Send what has arrived on to the devices, if anybody still wants it. Runs on the client's thread."""
        try:
            self._report.ended()
            with self._lock:
                self.arrived_at = time.perf_counter()
                if self._has_rows():
                    for rank in self._unfinished:
                        self._copy_once(rank)
        finally:
            self._landed.set()

    def _has_rows(self) -> bool:
        try:
            self._pending.result(0)
        except Exception:  # whoever waits is told
            return False
        return True

    def _copy_once(self, rank: int) -> DeviceCopy:
        copy = self._copies[rank]
        if copy is None:
            part = self._parts[rank]
            copy = self._copies[rank] = part.copier.copy(self._slot, part.pieces())
        return copy
