"""Search for the highest rate within a latency limit, each rate a run of its own with its own warm-up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from store_server.commands.load.rate_search import LOWEST_RATE, RateSearch
from store_server.commands.load.words import milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from store_server.commands.load.job import Run
    from store_server.commands.load.result import Measured

_TRIES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A rate that was tried; `broken` says what it did not hold, None that it did."""

    rate: float
    measured: Measured
    broken: str | None

    @property
    def is_final(self) -> bool:
        """Whether nothing more is to be tried after this."""
        return self.measured.interrupted or self.measured.tally.rows_wrong > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRate:
    """All rates that were tried, in order, and what follows."""

    limit_seconds: float
    tolerance: float
    steps: list[Step]
    highest_held: float | None
    lowest_failed: float | None

    @property
    def best(self) -> Measured:
        """The run at the highest rate that held; the last one that measured anything if none did."""
        held = [step for step in self.steps if step.rate == self.highest_held and step.broken is None]
        ended = [step for step in self.steps if not step.measured.ended_in_warm_up]
        return (held or ended or self.steps)[-1].measured

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object of the best run, with what was found."""
        steps = [
            {
                "rate_per_second": step.rate,
                "holds": step.broken is None,
                "why_not": step.broken,
                "p99_ms": (step.measured.tally.latencies.percentile(99) or 0.0) * 1e3,
                "fetches_per_second": step.measured.fetches_per_second,
            }
            for step in self.steps
        ]
        return {
            "find_rate": {
                "p99_limit_ms": self.limit_seconds * 1e3,
                "tolerance": self.tolerance,
                "highest_rate_per_second": self.highest_held,
                "lowest_rate_that_did_not_hold": self.lowest_failed,
                "steps": steps,
            },
            **self.best.as_json(),
        }


def find_rate(measure: Callable[[Run], Measured], first: Run, *, limit_seconds: float, tolerance: float) -> FoundRate:
    """Run `first` at one rate after the other, beginning with its own; ends early at wrong rows or an interrupt.

    A rate that does not hold is tried once more: one hiccup of the machine must not halve the result.
    """
    search = RateSearch(first=first.rate or LOWEST_RATE, tolerance=tolerance)
    steps: list[Step] = []
    while (rate := search.next_rate()) is not None:
        for _ in range(_TRIES):
            measured = measure(replace(first, rate=rate))
            steps.append(Step(rate=rate, measured=measured, broken=what_is_broken(measured, limit_seconds)))
            if steps[-1].broken is None or steps[-1].is_final:
                break
        if steps[-1].is_final:
            break
        search.tried(rate, held=steps[-1].broken is None)
    return FoundRate(
        limit_seconds=limit_seconds,
        tolerance=tolerance,
        steps=steps,
        highest_held=search.highest_held,
        lowest_failed=search.lowest_failed,
    )


def what_is_broken(measured: Measured, limit_seconds: float) -> str | None:
    """Say why a run did not keep within the limit; None if it did."""
    tally = measured.tally
    if measured.interrupted:
        return "interrupted"
    p99 = tally.latencies.percentile(99)
    if tally.rows_wrong:
        return f"{tally.rows_wrong:,} wrong rows"
    if tally.failed:
        return f"{tally.failed.total():,} fetches failed ({', '.join(tally.failed)}), where none may"
    if tally.never_started:
        limit = measured.job.max_in_flight
        return f"{tally.never_started:,} fetches never started, --max-in-flight {limit:,} were under way"
    if p99 is None:
        return "no fetch was due in the measured time: a longer --duration is needed"
    return f"p99 above {milliseconds(limit_seconds)}" if p99 > limit_seconds else None
