"""A node of two workers under clients that come and go, while versions are swapped and a worker is killed again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from soak.client import HABITS, Told
from soak.findings import Findings
from soak.swaps import IN_MEMORY, Swaps
from support.growth import Growth
from support.processes import NodeProcess

_TESTS: Final = Path(__file__).parents[1]
_END_SECONDS: Final = 60.0
_SAMPLES: Final = 60
_WARM_UP_SECONDS: Final = 2.0


class ClientProcess:
    """A client of one habit, and what it told last."""

    def __init__(self, habit: str, address: str) -> None:
        self.habit, self.told = habit, Told()
        environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(_TESTS), os.environ.get("PYTHONPATH", "")))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "soak.client", habit, address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.told = Told(**json.loads(line))

    def begin_end(self) -> None:
        """Let it finish what it is at, and wait for nothing."""
        self.process.stdin.close()

    def end(self) -> None:
        """Wait for its end, and hear its last word."""
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(_END_SECONDS)
        self.process.stdout.close()


class Soak:
    """All that is done and looked at, second by second; `step` is called again and again."""

    def __init__(self, node: NodeProcess, swaps: Swaps, clients: list[ClientProcess], findings: Findings) -> None:
        self._node, self._swaps, self._clients, self._findings = node, swaps, clients, findings
        self._processes = self._watched()

    def swap(self) -> None:
        """Publish the next version."""
        self._swaps.swap()
        self._findings.swaps += 1

    def kill(self) -> None:
        """Kill the last worker; the first is left alone, so that it can be seen whether a worker grows.

        One that is to replace another is given the time for it: a node ends when too many die at once.
        """
        if self._num_replaced() < self._findings.kills:
            return
        os.kill(_workers_of(self._node)[-1], signal.SIGKILL)
        self._findings.kills += 1

    def look(self, seconds: float) -> None:
        """Sample every process that lasts."""
        for name, process in self._processes.items():
            with contextlib.suppress(OSError):  # one that has ended is found out otherwise
                self._findings.growth.setdefault(name, Growth()).look(process, seconds)

    def has_seen_all(self) -> bool:
        """Take note of what was seen so far; tell whether every bar is met."""
        self._findings.told = {each.habit: each.told for each in self._clients}
        self._findings.worker_replaced = self._num_replaced()
        return self._findings.is_right

    def _num_replaced(self) -> int:
        return self._node.log.count("worker replaced")

    def _watched(self) -> dict[str, int]:
        clients = {f"client, {each.habit}": each.process.pid for each in self._clients}
        return {"node, parent": self._node.process.pid, "node, worker": _workers_of(self._node)[0], **clients}


def soak(
    directory: Path, *, seconds: float, swap_seconds: float, kill_seconds: float, is_short: bool = False
) -> Findings:
    """Run it all for so long, and return what was found; one that `is_short` ends as soon as every bar is met."""
    swaps = Swaps(directory / "root")
    swaps.begin()
    findings = Findings(seconds=seconds)
    every = {"swap": swap_seconds, "kill": kill_seconds, "look": seconds / _SAMPLES}
    with _node(directory / "root", is_fresh=not is_short) as node, _clients(node.address) as clients:
        running = Soak(node, swaps, clients, findings)
        _run(running, seconds, every, running.has_seen_all if is_short else lambda: False)
        findings.node_ended_with = node.process.poll()
    running.has_seen_all()  # what was told at the end
    return findings


def _run(running: Soak, seconds: float, every: dict[str, float], is_enough: Callable[[], bool]) -> None:
    began = time.monotonic()
    due = dict(every)
    due["look"] = min(_WARM_UP_SECONDS, every["look"])
    while (gone := time.monotonic() - began) < seconds and not is_enough():
        what = min(due, key=lambda each: due[each])
        if due[what] > gone:
            time.sleep(min(due[what] - gone, seconds - gone))
            continue
        due[what] += every[what]
        if what == "look":
            running.look(gone)
        elif what == "swap":
            running.swap()
        else:
            running.kill()


@contextlib.contextmanager
def _node(root: Path, *, is_fresh: bool) -> Iterator[NodeProcess]:
    node = NodeProcess(root, "--workers", "2", "--in-memory", IN_MEMORY, is_fresh=is_fresh)
    try:
        yield node
    finally:
        if node.process.poll() is None:
            node.stop()


@contextlib.contextmanager
def _clients(address: str) -> Iterator[list[ClientProcess]]:
    clients: list[ClientProcess] = []
    try:
        clients.extend(ClientProcess(habit, address) for habit in HABITS)
        yield clients
    finally:
        for client in clients:
            client.begin_end()
        for client in clients:
            client.end()


def _workers_of(node: NodeProcess) -> list[int]:
    """Return the processes of a node's workers, the longest living first."""
    parent = node.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return sorted(map(int, children), key=lambda pid: Path(f"/proc/{pid}").stat().st_ctime_ns)
