"""Whether a process grows: what it holds is sampled as it works, and a line drawn through the samples."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

FEWEST_SAMPLES = 8
_WARM_UP = 1 / 3  # of the samples: caches, pools and the heap fill at first
_MOST_GROWTH = 0.03  # of what is held after the warm-up, along the whole line
_LEAST_BYTES = 4 << 20  # that say nothing: the heap is handed out in pieces of this order
MOST_DESCRIPTORS = 4


class Sample(NamedTuple):
    """What a process holds at some point of its work; `own_bytes` are those in RAM that no file stands for."""

    at: float
    own_bytes: int
    resident_bytes: int
    descriptors: int


class Line(NamedTuple):
    """What was held after the warm-up, and by how much it rose from there to the end, by least squares."""

    held: float
    slope: float
    rise: float


def sample(process: int, at: float, *, with_sockets: bool = True) -> Sample:
    """Look at a process; raises OSError when it has gone. Without sockets where clients come and go all the time."""
    folder = Path(f"/proc/{process}")
    lines = (line.split() for line in (folder / "status").read_text().splitlines())
    kilobytes = {words[0]: int(words[1]) for words in lines if words[0] in ("VmRSS:", "RssAnon:")}
    if not kilobytes:
        raise ProcessLookupError(f"process {process} has ended")
    opened = open_files(process)
    descriptors = len(opened) if with_sockets else sum(not is_socket(file) for file in opened)
    return Sample(at, kilobytes["RssAnon:"] << 10, kilobytes["VmRSS:"] << 10, descriptors)


def num_sockets(process: int) -> int:
    """Return how many a process has open; raises OSError when it has gone."""
    return sum(map(is_socket, open_files(process)))


def is_socket(file: str) -> bool:
    """Tell whether what a descriptor stands for is one."""
    return file.startswith("socket:")


def open_files(process: int) -> list[str]:
    """Return what each descriptor of a process stands for; raises OSError when it has gone."""
    found = []
    for file in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.append(str(file.readlink()))
    return found


def line_through(points: Sequence[tuple[float, float]]) -> Line:
    """Return the line through what lies after the warm-up."""
    after = np.array(points[int(len(points) * _WARM_UP) :], float)
    slope, start = np.polyfit(after[:, 0] - after[0, 0], after[:, 1], 1)
    return Line(float(start), float(slope), float(slope * (after[-1, 0] - after[0, 0])))


@dataclass
class Growth:
    """The samples of one process, and whether it stays as it is."""

    samples: list[Sample] = field(default_factory=list)

    def look(self, process: int, at: float, *, with_sockets: bool = True) -> None:
        """Take one more sample."""
        self.samples.append(sample(process, at, with_sockets=with_sockets))

    @property
    def memory(self) -> Line:
        """Of its own bytes."""
        return line_through([(each.at, each.own_bytes) for each in self.samples])

    @property
    def descriptors(self) -> Line:
        """Of its descriptors."""
        return line_through([(each.at, each.descriptors) for each in self.samples])

    def fault(self, *, kept_by_others: float = 0.0) -> str | None:
        """Say what grows; None if nothing does. Not what others than who is judged keep, in bytes a step of `at`."""
        if len(self.samples) < FEWEST_SAMPLES:
            return f"{len(self.samples)} samples are too few to tell whether memory grows, {FEWEST_SAMPLES} are needed"
        memory, descriptors = self.memory, self.descriptors
        steps = memory.rise / memory.slope if memory.slope else 0.0
        if memory.rise - kept_by_others * steps > max(_LEAST_BYTES, _MOST_GROWTH * memory.held):
            return f"memory grows: {memory.rise / 2**20:.1f} MiB onto {memory.held / 2**20:.0f} after the warm-up"
        if descriptors.rise > MOST_DESCRIPTORS:
            return f"descriptors grow: {descriptors.rise:.1f} onto {descriptors.held:.0f} after the warm-up"
        return None
