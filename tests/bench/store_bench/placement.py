"""Which processor cores the server and the client run on."""

from __future__ import annotations

import os
from dataclasses import dataclass


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


def move_to(cores: frozenset[int]) -> None:
    """Run this thread, and the threads and processes that it starts from now on, on these cores."""
    os.sched_setaffinity(0, cores)
