"""What is shown of the workers of a node by whoever knows how they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from store_server.observing.readings import Readings


def read_workers(
    readings: Readings, up: Callable[[], Mapping[int, bool]], restarts: Callable[[], Mapping[int, int]]
) -> None:
    """Show which workers, by their numbers, answer, and how often each of them was replaced."""
    readings.gauges("engram_worker_up", "Whether a worker answers.", "worker", lambda: _by_name(up()))
    readings.counters(
        "engram_worker_restarts_total",
        "How often a worker that died was started again.",
        "worker",
        lambda: _by_name(restarts()),
    )


def _by_name(numbers: Mapping[int, int]) -> dict[str, float]:
    return {str(worker): number for worker, number in numbers.items()}
