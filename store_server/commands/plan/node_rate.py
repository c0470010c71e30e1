"""What lookups cost a node and the client: measured by `load`, given, or as a small machine was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


class Cost(NamedTuple):
    """Seconds that a request takes, and each row in it besides."""

    request_seconds: float
    row_seconds: float

    def of(self, num_requests: float, num_rows: float) -> float:
        """Return the seconds that so many requests with so many rows together take."""
        return num_requests * self.request_seconds + num_rows * self.row_seconds

    def rows_per_second(self, rows_a_request: float) -> float:
        """Return the most rows a second in requests of this size."""
        return rows_a_request / self.of(1, rows_a_request)

    def shared_by(self, number: int) -> Cost:
        """Return the cost to each of those who share what this one had alone."""
        return Cost(self.request_seconds * number, self.row_seconds * number)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRate:
    """What lookups cost, and what the figures were measured with."""

    node: Cost
    """Seconds for which a request keeps a node from others: one that is busy all the time serves the most it can."""
    client: Cost
    """Seconds of a processor of the client."""
    sizes: tuple[float, ...] = ()
    """Rows a request in the measurements; none where the figures were given."""
    row_bytes: int | None = None
    remark: str = ""
    """What one should know of the figures before one builds on them."""


# `make bench`, node and client with a core of two each, 8 fetches in flight, backend mmap. At 256 and 4,096 rows a
# fetch there were 519,970 and 1,781,391 rows/s, and 1.71 and 0.339 us of the client's processor a row.
DEFAULT_RATE: Final = NodeRate(
    node=Cost(370e-6, 0.47e-6),
    client=Cost(370e-6, 0.25e-6),
    sizes=(256, 4096),
    row_bytes=264,
    remark="what a request and a row cost was not given: these are figures of a small machine, one core for the node "
    "and one for the client. Measure a node of yours, such as `engram-store load URL --concurrency 8 --rows 4096 "
    "--json FILE`, and give --from-load FILE",
)


def flat(rows_per_second: float) -> Cost:
    """Return the cost of rows where that of a request is not known apart."""
    return Cost(0.0, 1 / rows_per_second)


def fitted(sizes: Sequence[float], seconds: Sequence[float]) -> Cost:
    """Return what explains best that requests of `sizes` rows took `seconds`: least squares of the relative errors.

    Neither part is negative; with one size alone all is put down to the rows.
    """
    rows, took = np.array(sizes, np.float64), np.array(seconds, np.float64)
    if len(set(sizes)) > 1:
        row_seconds, request_seconds = np.polyfit(rows, took, 1, w=1 / took)
        if row_seconds >= 0 and request_seconds >= 0:
            return Cost(float(request_seconds), float(row_seconds))
        if row_seconds < 0:
            return Cost(float(1 / np.mean(1 / took)), 0.0)
    return Cost(0.0, float(1 / np.mean(rows / took)))
