"""Subjects of the store benchmark that need no server: one that is right, and some that each go wrong in their way."""

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench.store_bench.lanes import pipelined
from bench.store_bench.questions import RowFile
from bench.store_bench.round import Fetch, Round
from numpy.typing import NDArray

Rows = NDArray[np.uint8]


def right(fetch: Fetch, rows: Rows) -> Rows:
    return rows


def one_byte_changed(fetch: Fetch, rows: Rows) -> Rows:
    rows[-1, -1] ^= 1
    return rows


def a_row_too_few(fetch: Fetch, rows: Rows) -> Rows:
    return rows[:-1]


def in_another_order(fetch: Fetch, rows: Rows) -> Rows:
    return rows[::-1].copy()


class RowsOfTheFetchBefore:
    """Hands out the buffer once it holds rows, without writing to it again."""

    def __init__(self) -> None:
        self._written = False

    def __call__(self, fetch: Fetch, rows: Rows) -> Rows:
        if not self._written:
            fetch.out[:] = rows
        self._written = True
        return fetch.out


class GatheringSubject:
    """Gathers the rows in the client; `change` is done to each answer."""

    notes = "for tests"

    def __init__(self, name: str, change: Callable[[Fetch, Rows], Rows] = right) -> None:
        self.name = name
        self._change = change
        self._rows = np.zeros((0, 0), np.uint8)

    def start_server(self, file: RowFile, directory: Path) -> list[int]:  # noqa: ARG002
        self._rows = file.rows()
        return []

    def connect(self) -> None:
        pass

    def run(self, round_: Round) -> None:
        pipelined(round_, lambda _: None, lambda fetch: self._change(fetch, np.asarray(self._rows[fetch.ids])))

    def stop(self) -> None:
        pass


class InterruptedWhileItStarts:
    """Makes a subject, in a process where Ctrl-C is pressed before it has come to that."""

    def __call__(self) -> GatheringSubject:
        return GatheringSubject("interrupted")

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        return _interrupt, ()


def _interrupt() -> InterruptedWhileItStarts:
    signal.raise_signal(signal.SIGINT)
    return InterruptedWhileItStarts()
