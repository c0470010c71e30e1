"""The metrics of a node of several workers: those of each, and which of them answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from prometheus_client import generate_latest

from store_server.observing.joined import joined
from store_server.observing.readings import Readings
from store_server.observing.worker_readings import read_workers

if TYPE_CHECKING:
    from store_server.workers.supervisor import Supervisor

_ANSWER_SECONDS: Final = 1.0  # for all workers together: they are asked at the same time
_LOOP_SECONDS: Final = 5.0  # for the event loop of the parent, which has little to do


class WorkerMetrics:
    """Asks the workers of `supervisor`, on the event loop that runs now. Who does not answer in time keeps nobody."""

    def __init__(self, supervisor: Supervisor, *, answer_seconds: float = _ANSWER_SECONDS) -> None:
        self._supervisor = supervisor
        self._answer_seconds = answer_seconds
        self._loop = asyncio.get_running_loop()

    def text(self) -> bytes:
        """Return the metrics of all workers, as Prometheus reads them; for other threads than that of the loop."""
        return asyncio.run_coroutine_threadsafe(self.gather(), self._loop).result(_LOOP_SECONDS)

    async def gather(self) -> bytes:
        """Return what `text` returns."""
        numbers = range(self._supervisor.num_workers)
        answers = await asyncio.gather(*map(self._answer_of, numbers))
        up = {number: answer is not None for number, answer in zip(numbers, answers, strict=True)}
        readings = Readings()
        read_workers(readings, lambda: up, lambda: {number: self._supervisor.restarts[number] for number in numbers})
        return joined([generate_latest(readings), *filter(None, answers)])

    async def _answer_of(self, number: int) -> bytes | None:
        worker = self._supervisor.worker(number)
        if worker is None:
            return None
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await worker.metrics()
        except (TimeoutError, OSError):  # OSError: the parent has no descriptor left
            return None
