"""Which processor cores the server and the client run on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Placement:
    """`shared`: both on all cores. `apart`: the server on one, the client on another, as on two machines."""

    name: str
    server_cores: frozenset[int]
    client_cores: frozenset[int]


def placements() -> dict[str, Placement]:
    """Return those that this machine allows: with one core, nothing can be apart."""
    cores = sorted(os.sched_getaffinity(0))
    found = {"shared": Placement("shared", frozenset(cores), frozenset(cores))}
    if len(cores) > 1:
        found["apart"] = Placement("apart", frozenset(cores[:1]), frozenset(cores[1:2]))
    return found


def move(pids: Iterable[int], cores: frozenset[int]) -> None:
    """Run all threads of these processes, and those that they start from now on, on these cores."""
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.sched_setaffinity(int(thread.name), cores)
