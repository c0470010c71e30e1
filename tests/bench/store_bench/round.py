"""One round of one subject: fetches for so many seconds, each of them timed, the rows of each of them checked.

What is timed is the same for all. A latency ends when the rows lie in an array (n, ROW_BYTES); the check comes after.
Rows a second and processor time are those of the whole round, the checks included; the processor time of the checks is
measured by itself too, so that it can be taken off.
"""

from __future__ import annotations

import math
import mmap
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from bench.store_bench.questions import ROW_BYTES, Questions
from numpy.typing import NDArray


class WrongRows(Exception):
    """A subject handed out rows that were not asked for."""


@dataclass(frozen=True, slots=True)
class RoundResult:
    """What a round took. `latencies`: seconds, one a fetch."""

    num_rows: int
    seconds: float
    cpu_seconds: float
    check_cpu_seconds: float
    latencies: list[float]


class Fetch:
    """One fetch: `ids` int64 (n,) to ask for and `out` uint8 (n, ROW_BYTES) that may take the rows."""

    __slots__ = ("_began", "_expected", "_round", "ids", "out")

    def __init__(self, round_: Round, ids: NDArray[np.int64], out: NDArray[np.uint8], expected: NDArray[np.uint8]):
        self.ids, self.out = ids, out
        self._round, self._expected = round_, expected
        self._began = time.perf_counter()

    def end(self, rows: NDArray[np.uint8]) -> None:
        """Say that the rows are here; raises WrongRows."""
        seconds = time.perf_counter() - self._began
        self._round.check(rows, self._expected, seconds)


class Round:
    """Hands out fetches to lanes, each of which has one under way and one of the `buffers` of its own."""

    def __init__(self, questions: Questions, buffers: NDArray[np.uint8], seconds: float) -> None:
        self.in_flight = len(buffers)
        self._questions = questions
        self._buffers = buffers
        buffers.fill(255)  # rows of the round before would be right answers of this one
        self._latencies: list[float] = []
        self._check_cpu: list[int] = []
        self._began_cpu = time.process_time()
        self._began = time.perf_counter()
        self._end = self._began + seconds

    def fetches(self, lane: int) -> Iterator[Fetch]:
        """Begin fetches one after another until the time is up, at least one.

        A buffer never gets the same rows twice in a row, so one that nobody wrote to is found.
        """
        number, questions = lane, self._questions
        while True:
            number = (number + 1) % len(questions.ids)
            yield Fetch(self, questions.ids[number], self._buffers[lane], questions.rows[number])
            if time.perf_counter() >= self._end:
                return

    def check(self, rows: NDArray[np.uint8], expected: NDArray[np.uint8], seconds: float) -> None:
        """Compare every row, note the latency."""
        began = time.thread_time_ns()
        same = rows.shape == expected.shape and np.array_equal(rows.view(np.uint64), expected.view(np.uint64))
        self._check_cpu.append(time.thread_time_ns() - began)
        if not same:
            raise WrongRows(f"asked for {len(expected)} rows of {ROW_BYTES} bytes, and got others")
        self._latencies.append(seconds)

    def result(self) -> RoundResult:
        """Return what it took from the beginning until now."""
        seconds, cpu_seconds = time.perf_counter() - self._began, time.process_time() - self._began_cpu
        num_rows = len(self._latencies) * self._questions.ids.shape[1]
        return RoundResult(num_rows, seconds, cpu_seconds, sum(self._check_cpu) / 1e9, self._latencies)


def buffers_for(in_flight: int, ids_per_fetch: int) -> NDArray[np.uint8]:
    """Return a buffer for each fetch in flight, (in_flight, ids_per_fetch, ROW_BYTES).

    Straight from the kernel: when megabytes go back to malloc, glibc stops mapping and unmapping blocks of that size,
    which would speed up all messages that the client gets afterwards. A client should not owe that to its benchmark.
    """
    shape = (in_flight, ids_per_fetch, ROW_BYTES)
    return np.frombuffer(mmap.mmap(-1, math.prod(shape)), np.uint8).reshape(shape)
