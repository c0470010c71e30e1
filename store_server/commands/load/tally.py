"""What was counted while a load ran; tallies of several processes add up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from store_server.commands.load.histogram import LatencyHistogram


@dataclass(slots=True)
class Tally:
    """Counts of the measured time; what happened in the warm-up shows only where rows were wrong."""

    latencies: LatencyHistogram = field(default_factory=LatencyHistogram)
    """From the moment a fetch was due to its end, failed ones included; of one that never started, until the end."""
    issued_late: LatencyHistogram = field(default_factory=LatencyHistogram)
    """From the moment a fetch was due until it was sent, of those that needed not wait for another one's end."""
    completed: int = 0
    completed_in_time: int = 0
    """Of the completed ones, those before the end of the measured time: what the rates are made of."""
    left_from_warm_up: int = 0
    """Due in the warm-up and completed in the measured time: what the store did besides, and no part of the rates."""
    failed: Counter[str] = field(default_factory=Counter)
    """How many failed, by kind of error."""
    messages: dict[str, str] = field(default_factory=dict)
    """What the first failure of each kind said."""
    never_started: int = 0
    """Due, but not sent until the end, because as many as may be were under way."""
    cut_off: int = 0
    """Under way when the run was interrupted."""
    rows_checked: int = 0
    rows_wrong: int = 0
    first_wrong_row: int | None = None
    measured_seconds: float = 0.0
    cpu_seconds: float = 0.0

    def count_failure(self, failure: Exception) -> None:
        """Count a fetch that failed."""
        kind = type(failure).__name__
        self.failed[kind] += 1
        self.messages.setdefault(kind, str(failure))

    def add(self, other: Tally) -> None:
        """Take in what another process counted at the same time."""
        self.latencies.add(other.latencies)
        self.issued_late.add(other.issued_late)
        self.failed.update(other.failed)
        self.messages = {**other.messages, **self.messages}
        for name in (
            "completed",
            "completed_in_time",
            "left_from_warm_up",
            "never_started",
            "cut_off",
            "rows_checked",
            "rows_wrong",
            "cpu_seconds",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if self.first_wrong_row is None:
            self.first_wrong_row = other.first_wrong_row
        self.measured_seconds = max(self.measured_seconds, other.measured_seconds)

    @property
    def num_due(self) -> int:
        """Fetches that were due in the measured time."""
        return self.completed + self.failed.total() + self.never_started + self.cut_off
