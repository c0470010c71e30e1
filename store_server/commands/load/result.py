"""The result as one JSON object: what was asked for, what was measured, and what was checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from store_server.commands.load.histogram import RELATIVE_ERROR
from store_server.commands.load.row_choice import TextChoice, ZipfChoice

if TYPE_CHECKING:
    from store_server.commands.load.histogram import LatencyHistogram
    from store_server.commands.load.job import Job, Run
    from store_server.commands.load.row_choice import RowChoice
    from store_server.commands.load.tally import Tally

PERCENTILES: Final = (50, 90, 99, 99.9, 99.99)
_BUSY_SHARE: Final = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run and what it counted."""

    job: Job
    run: Run
    tally: Tally
    interrupted: bool = False

    @property
    def fetches_per_second(self) -> float:
        """Fetches that were due and ended well within the measured time."""
        return self._per_second(self.tally.completed_in_time)

    @property
    def fetches_per_second_in_all(self) -> float:
        """The same with those that were due in the warm-up: what the store bore."""
        return self._per_second(self.tally.completed_in_time + self.tally.left_from_warm_up)

    @property
    def began_behind(self) -> bool:
        """Whether more was left from the warm-up than may be under way at once, so that it tells of the store."""
        return self.tally.left_from_warm_up > self.job.max_in_flight

    @property
    def ended_in_warm_up(self) -> bool:
        """Whether the run was interrupted before anything could be measured."""
        return self.interrupted and not self.tally.measured_seconds

    @property
    def client_cpu_share(self) -> float:
        """Which part of a core each client process used."""
        seconds = self.tally.measured_seconds * self.job.processes
        return self.tally.cpu_seconds / seconds if seconds else 0.0

    @property
    def client_is_busy(self) -> bool:
        """Whether the figures tell more about the client processes than about the server."""
        return self.client_cpu_share >= _BUSY_SHARE

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object; times in milliseconds."""
        tally, rows = self.tally, self.job.rows_per_fetch
        return {
            "url": self.job.url,
            "table": self.job.table,
            "version": self.job.version,
            "num_rows": self.job.num_rows,
            "row_bytes": self.job.row_bytes,
            "load": self._load(),
            "interrupted": self.interrupted,
            "measured_seconds": tally.measured_seconds,
            "fetches": {
                "due": tally.num_due,
                "completed": tally.completed,
                "completed_in_time": tally.completed_in_time,
                "left_from_warm_up": tally.left_from_warm_up,
                "failed": tally.failed.total(),
                "never_started": tally.never_started,
                "cut_off": tally.cut_off,
            },
            "errors": {kind: {"count": n, "first": tally.messages[kind]} for kind, n in tally.failed.items()},
            "fetches_per_second": self.fetches_per_second,
            "rows_per_second": self.fetches_per_second * rows,
            "bytes_per_second": self.fetches_per_second * rows * self.job.row_bytes,
            "latency_ms": {"counted_from": self._counted_from(), **_milliseconds(tally.latencies)},
            "issued_late_ms": _milliseconds(tally.issued_late) if self.run.rate is not None else None,
            "check": {
                "how": self.job.check.value,
                "said": self.job.check.said,
                "rows_checked": tally.rows_checked,
                "rows_wrong": tally.rows_wrong,
                "first_wrong_row": tally.first_wrong_row,
            },
            "client": {"cpu_share_of_a_core": self.client_cpu_share, "is_the_limit": self.client_is_busy},
        }

    def _per_second(self, fetches: int) -> float:
        return fetches / self.tally.measured_seconds if self.tally.measured_seconds else 0.0

    def _load(self) -> dict[str, Any]:
        run, job = self.run, self.job
        is_open = run.rate is not None
        return {
            "loop": "open" if is_open else "closed",
            "rate_per_second": run.rate,
            "arrivals": run.spacing.value if is_open else None,
            "burst": run.burst if is_open else None,
            "max_in_flight": job.max_in_flight,
            "processes": job.processes,
            "rows_per_fetch": job.rows_per_fetch,
            "rows": described_choice(job.choice),
            "warm_up_seconds": run.warm_up_seconds,
            "duration_seconds": run.duration_seconds,
            "timeout_seconds": job.timeout_seconds,
            "seed": job.seed,
        }

    def _counted_from(self) -> str:
        return "the moment a fetch was due" if self.run.rate is not None else "the end of the lane's last fetch"


def described_choice(choice: RowChoice) -> dict[str, Any]:
    """Return which rows were asked for, as JSON."""
    if isinstance(choice, TextChoice):
        return {
            "choice": "text",
            "files": list(choice.names),
            "tokens": sum(map(len, choice.documents)),
            "layer": choice.layer,
            "vocab_sizes": list(choice.spec.vocab_sizes),
            "folded": choice.fold,
        }
    if isinstance(choice, ZipfChoice):
        return {"choice": "zipf", "exponent": choice.exponent}
    return {"choice": "uniform"}


def _milliseconds(histogram: LatencyHistogram) -> dict[str, Any]:
    values = {
        "min": histogram.least,
        "mean": histogram.mean,
        **{f"p{percent:g}": histogram.percentile(percent) for percent in PERCENTILES},
        "max": histogram.most,
    }
    in_ms = {name: None if seconds is None else seconds * 1e3 for name, seconds in values.items()}
    return {"count": histogram.count, "relative_error": RELATIVE_ERROR, **in_ms}
