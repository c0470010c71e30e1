"""A histogram of ours as Prometheus has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client.utils import floatToGoString

from store_server.observing.durations import BOUNDS_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from store_server.observing.durations import Durations

_NAMES: Final = tuple(map(floatToGoString, (*BOUNDS_SECONDS, float("inf"))))


def buckets_of(durations: Durations) -> tuple[Sequence[tuple[str, float]], float]:
    """Return the buckets and the sum, as HistogramMetricFamily takes them."""
    return list(zip(_NAMES, durations.cumulative(), strict=True)), durations.sum_seconds
