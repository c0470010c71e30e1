"""Rounds of all subjects by turns, so that a machine that slows down slows all of them; what counts are ratios."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.store_bench.client_process import Case, ClientProcess, Measured, SubjectFailed
from bench.store_bench.questions import RowFile
from bench.store_bench.subject import NotHere, Subject

_STARTED_AT_ONCE: Final = 4
Subjects = Mapping[str, Callable[[], Subject]]


@dataclass(slots=True)
class Measurements:
    """`rounds[case][subject]`: a measurement a round, in the order of the rounds."""

    rounds: dict[Case, dict[str, list[Measured]]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    not_here: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: dict[Case, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    rounds: int
    seconds: float
    """How long a round begins new fetches."""
    longest_round_seconds: float
    """A case in which one round of a subject would take longer, judged by the cases before, is left out for it."""


def measure(subjects: Subjects, cases: Sequence[Case], file: RowFile, directory: Path, effort: Effort) -> Measurements:
    """Measure every subject that is here, in every case, and leave out the figures of those that fail."""
    found = Measurements()
    with _started(subjects, file, directory, found) as clients:
        for case in cases:
            print(
                f"{case.ids_per_fetch} rows a fetch, {case.in_flight} in flight, cores {case.placement.name}",
                flush=True,
            )
            _measure_case(case, clients, found, effort)
    for of_case in found.rounds.values():
        for name in found.failed:
            of_case.pop(name, None)
    return found


@contextlib.contextmanager
def _started(
    subjects: Subjects, file: RowFile, directory: Path, found: Measurements
) -> Iterator[dict[str, ClientProcess]]:
    def start(name: str) -> ClientProcess:
        client = ClientProcess(subjects[name], file, directory / name.replace(" ", "-"))
        # Here, and not where it is waited for: it must be stopped as well when nobody waits any more.
        stack.callback(client.stop)
        return client

    with contextlib.ExitStack() as stack, _threads() as threads:
        clients = {}
        for name, starting in {name: threads.submit(start, name) for name in subjects}.items():
            try:
                client = starting.result()
            except NotHere as error:
                found.not_here[name] = str(error)
                print(f"left out: {name} {error}", flush=True)
            except SubjectFailed as error:
                _fail(name, error, found)
            else:
                clients[name] = client
                found.notes[name] = client.notes
        yield clients


@contextlib.contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Some threads that begin nothing more once the block is left."""
    threads = ThreadPoolExecutor(_STARTED_AT_ONCE)
    try:
        yield threads
    finally:
        threads.shutdown(cancel_futures=True)


def _measure_case(case: Case, clients: dict[str, ClientProcess], found: Measurements, effort: Effort) -> None:
    found.left_out[case] = {}
    for name in clients:
        seconds = _expected_seconds(name, case, found)
        if seconds > effort.longest_round_seconds:
            found.left_out[case][name] = f"a round would take about {seconds:.0f} s"
    measured = found.rounds[case] = {name: [] for name in clients if name not in found.left_out[case]}
    for round_number in range(-1, effort.rounds):  # the first one warms up
        for name in list(measured)[:: 1 if round_number % 2 else -1]:
            if name in found.failed:
                continue
            try:
                one = clients[name].measure(case, effort.seconds)
            except SubjectFailed as error:
                _fail(name, error, found)
                continue
            if round_number >= 0:
                measured[name].append(one)


def _expected_seconds(name: str, case: Case, found: Measurements) -> float:
    """Return how long one fetch in each lane would take at the best rate so far."""
    rates = [
        one.round.num_rows / one.round.seconds for of_case in found.rounds.values() for one in of_case.get(name, [])
    ]
    return case.ids_per_fetch * case.in_flight / max(rates) if rates else 0.0


def _fail(name: str, error: SubjectFailed, found: Measurements) -> None:
    found.failed[name] = str(error)
    print(f"FAILED: {name}: {error}", flush=True)
