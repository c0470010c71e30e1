"""A bit flips on the disk of one of two replicas, each of several processes, while its row is asked for."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import grpc
import numpy as np
from support.network import Loopback
from support.processes import NodeProcess
from support.real_cluster import RealCluster, real_cluster
from support.rows import random_rows

import engram_client
from engram_store.v1.lookup_service_pb2 import LookupRequest
from engram_store.v1.lookup_service_pb2_grpc import LookupServiceStub

_TABLE, _ROWS = "m/layer-1", random_rows(40_000, 264, 1)
_BAD_ROW, _BAD_BYTE, _BAD_BIT = 39_000, 100, 0x10
_NUM_NODES, _NUM_WORKERS, _VICTIM = 2, 2, 0
_WAIT_SECONDS = 60.0
_PAUSE_SECONDS = 0.005  # of the client between two fetches, for the sake of the nodes on the same cores
RIGHT, WRONG, REFUSED = "right", "wrong", "refused"


class Answer(NamedTuple):
    """To one question for the row; times are those of time.monotonic."""

    began: float
    ended: float
    outcome: str


@dataclass(frozen=True, kw_only=True)
class FlippedBitFindings:
    """The line of the scenario. "Found" is when somebody was first refused the row, or when the node said so."""

    scenario: str = "flipped-bit"
    workers: int
    found_after_seconds: float
    repaired_after_seconds: float
    served_wrong_before_found: int
    refused: int
    served_wrong_once_found: int
    """By a process of the damaged node, asked directly."""
    fetches: int
    fetches_failed: int
    fetches_wrong_once_found: int
    """By a client of the cluster, as all fetches."""
    is_file_as_before: bool

    @property
    def is_right(self) -> bool:
        wrong = self.served_wrong_once_found + self.fetches_failed + self.fetches_wrong_once_found
        return not wrong and self.is_file_as_before

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def flip_a_bit(directory: Path, scrub_rate: str = "8MiB") -> FlippedBitFindings:
    """Flip a bit under the eyes of a client, and of one who asks each process of the node; returns what they saw."""
    network = Loopback(_NUM_NODES, ports_a_node=_NUM_WORKERS)
    options = ("--workers", str(_NUM_WORKERS), "--scrub-rate", scrub_rate)
    with real_cluster(directory, _NUM_NODES, {_TABLE: _ROWS}, network=network, options=options) as cluster:
        file = next(cluster.root(_VICTIM).glob("tables/*/versions/*/rows.bin"))
        before = file.read_bytes()
        host, _, port = cluster.addresses[_VICTIM].rpartition(":")
        processes = [_of_process(f"{host}:{int(port) + worker}") for worker in range(_NUM_WORKERS)]
        with asked(processes) as of_node, asked([_of_cluster(cluster)]) as of_cluster:
            flipped = time.monotonic()
            _flip(file)
            said, repaired = _said_times(cluster.process(_VICTIM))
        is_as_before = file.read_bytes() == before
    refused = [answer for answer in of_node if answer.outcome == REFUSED]
    found = min([said, *(answer.ended for answer in refused)])
    return FlippedBitFindings(
        workers=_NUM_WORKERS,
        found_after_seconds=round(found - flipped, 3),
        repaired_after_seconds=round(repaired - flipped, 3),
        served_wrong_before_found=sum(each.outcome == WRONG and each.began < found for each in of_node),
        refused=len(refused),
        served_wrong_once_found=sum(each.outcome == WRONG and each.began >= found for each in of_node),
        fetches=len(of_cluster),
        fetches_failed=sum(each.outcome not in (RIGHT, WRONG) for each in of_cluster),
        fetches_wrong_once_found=sum(each.outcome == WRONG and each.began >= found for each in of_cluster),
        is_file_as_before=is_as_before,
    )


@contextmanager
def asked(questions: list[Callable[[threading.Event], Iterator[str]]]) -> Iterator[list[Answer]]:
    """Ask each question again and again as long as the block lasts; all answers are there at its end.

    The block begins once each was answered.
    """
    answers: list[Answer] = []
    stop, all_answered = threading.Event(), threading.Barrier(len(questions) + 1, timeout=_WAIT_SECONDS)

    def ask(question: Callable[[threading.Event], Iterator[str]]) -> None:
        began = time.monotonic()
        for number, outcome in enumerate(question(stop)):
            ended = time.monotonic()
            answers.append(Answer(began, ended, outcome))
            if number == 0:
                all_answered.wait()
            began = time.monotonic()

    with ThreadPoolExecutor(len(questions)) as threads:
        futures = [threads.submit(ask, question) for question in questions]
        try:
            all_answered.wait()
            yield answers
        finally:
            stop.set()
    for future in futures:
        future.result()


def _of_process(address: str) -> Callable[[threading.Event], Iterator[str]]:
    """Ask one process of the node, and no other, for the row."""

    def ask(stop: threading.Event) -> Iterator[str]:
        request = LookupRequest(table=_TABLE, rows=[_BAD_ROW])
        with grpc.insecure_channel(address) as channel:
            while not stop.is_set():
                try:
                    reply = LookupServiceStub(channel).Lookup(request, timeout=_WAIT_SECONDS)
                except grpc.RpcError as error:
                    yield REFUSED if "ROWS_NOT_HELD" in str(error.trailing_metadata()) else str(error)
                else:
                    yield RIGHT if reply.rows == _ROWS[_BAD_ROW].tobytes() else WRONG

    return ask


def _of_cluster(cluster: RealCluster) -> Callable[[threading.Event], Iterator[str]]:
    """Fetch the row with some others, as a client does."""

    def ask(stop: threading.Event) -> Iterator[str]:
        random = np.random.default_rng(1)
        with engram_client.connect_blocking(cluster.url) as store:
            table = store.table(_TABLE)
            while not stop.wait(_PAUSE_SECONDS):
                ids = np.append(random.integers(0, len(_ROWS), 50), _BAD_ROW)
                try:
                    rows = table.fetch(ids)
                except engram_client.EngramError as error:
                    yield str(error)
                else:
                    yield RIGHT if np.array_equal(rows, _ROWS[ids]) else WRONG

    return ask


def _flip(file: Path) -> None:
    """Flip one bit as a disk would: nothing else says that the file has changed."""
    status, place = file.stat(), _BAD_ROW * _ROWS.shape[1] + _BAD_BYTE
    with file.open("r+b") as data:
        data.seek(place)
        data.write(bytes([int(_ROWS[_BAD_ROW, _BAD_BYTE]) ^ _BAD_BIT]))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def _said_times(node: NodeProcess) -> tuple[float, float]:
    """Return when the node said that it has found the block, and that it has repaired it."""
    times = []
    for said in ("bad block quarantined", "bad block repaired"):
        if not node.logged(said):
            raise AssertionError(f"the node did not say {said!r}: {node.log[-2000:]}")
        times.append(time.monotonic())
    return times[0], times[1]
