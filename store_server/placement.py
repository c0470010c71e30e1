"""Which cores a process runs on, and which NUMA node its memory is taken from."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import platform
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_NODES: Final = Path("/sys/devices/system/node")
_RANGE: Final = re.compile(r"\s*([0-9]{1,6})\s*(?:-\s*([0-9]{1,6})\s*)?")
# Preferred, not bound: a node that is full lends memory of another, where binding would have the process killed.
_MPOL_PREFERRED: Final = 1
_SET_MEMPOLICY: Final = {"x86_64": 238, "aarch64": 237, "riscv64": 237, "ppc64le": 261, "s390x": 270}
_BITS: Final = 8 * ctypes.sizeof(ctypes.c_ulong)


class CannotPlace(Exception):
    """The kernel does not let this process choose its cores or its memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where one process runs: on these cores, with memory of this NUMA node if one is given."""

    cores: tuple[int, ...]
    numa_node: int | None = None


def parse_numbers(text: str) -> tuple[int, ...]:
    """Return the numbers of a list such as 0,2,4-7, in order, each once. Raises ValueError."""
    numbers: set[int] = set()
    for part in text.strip().split(","):
        match = _RANGE.fullmatch(part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ValueError(f"give numbers and ranges such as 0,2,4-7, got {text!r}")
        numbers.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(numbers))


def place(
    workers: int,
    *,
    pin_cores: Sequence[int] = (),
    numa_nodes: Sequence[int] = (),
    allowed: Collection[int] | None = None,
    nodes_path: Path = _NODES,
) -> list[Placement | None]:
    """Return where each worker runs; None leaves it to the kernel.

    Cores are divided among the workers, neighbours together; of NUMA nodes each worker has one, in turn, with all
    cores of it that this process may use: `allowed`, by default as the kernel says. Raises ValueError.
    """
    if pin_cores and numa_nodes:
        raise ValueError("give --pin-cores or --numa-nodes, not both: cores decide the node, and a node its cores")
    allowed = os.sched_getaffinity(0) if allowed is None else allowed
    if pin_cores:
        return [Placement(cores=cores) for cores in _divided(pin_cores, workers, allowed)]
    if numa_nodes:
        if len(numa_nodes) > workers:
            raise ValueError(f"{len(numa_nodes)} NUMA nodes need as many --workers at least, got {workers}")
        on_nodes = [_on_node(node, allowed, nodes_path) for node in numa_nodes]
        return [on_nodes[number % len(on_nodes)] for number in range(workers)]
    return [None] * workers


def take_place(placement: Placement | None) -> None:
    """Put this process there, the threads it has included. To be called early: memory it has stays where it is.

    Raises CannotPlace.
    """
    if placement is None:
        return
    try:
        for thread in os.listdir("/proc/self/task"):  # noqa: PTH208  # names, of which each is a number
            os.sched_setaffinity(int(thread), placement.cores)
    except OSError as error:
        raise CannotPlace(f"cannot run on cores {_listed(placement.cores)}: {error.strerror}") from error
    if placement.numa_node is not None:
        _prefer_memory_of(placement.numa_node)


def _divided(cores: Sequence[int], workers: int, allowed: Collection[int]) -> list[tuple[int, ...]]:
    if missing := sorted(set(cores).difference(allowed)):
        raise ValueError(f"this process may use cores {_listed(allowed)}, got {_listed(missing)}")
    if len(cores) < workers:
        raise ValueError(f"{workers} workers need {workers} cores at least, got {len(cores)}: {_listed(cores)}")
    ends = [len(cores) * number // workers for number in range(workers + 1)]
    return [tuple(cores[start:end]) for start, end in itertools.pairwise(ends)]


def _on_node(node: int, allowed: Collection[int], nodes_path: Path) -> Placement:
    try:
        cores = parse_numbers((nodes_path / f"node{node}" / "cpulist").read_text())
    except (OSError, ValueError) as error:  # a node of memory alone has an empty list
        known = sorted(int(path.name[4:]) for path in nodes_path.glob("node[0-9]*"))
        nodes = "node" if len(known) == 1 else "nodes"
        has = f"this host has {nodes} {_listed(known)}" if known else f"{nodes_path} names none on this host"
        raise ValueError(f"no NUMA node {node} with cores: {has}") from error
    usable = tuple(core for core in cores if core in allowed)
    if not usable:
        raise ValueError(
            f"of the cores of NUMA node {node}, {_listed(cores)}, this process may use none, but {_listed(allowed)}"
        )
    return Placement(cores=usable, numa_node=node)


def _prefer_memory_of(node: int) -> None:
    number = _SET_MEMPOLICY.get(platform.machine())
    words = (ctypes.c_ulong * (node // _BITS + 1))()
    words[node // _BITS] = 1 << node % _BITS
    libc = ctypes.CDLL(None, use_errno=True)
    most_bits = ctypes.c_ulong(len(words) * _BITS + 1)  # the kernel takes one off
    if number is None:
        ctypes.set_errno(errno.ENOSYS)
    elif libc.syscall(ctypes.c_long(number), ctypes.c_int(_MPOL_PREFERRED), words, most_bits) == 0:
        return
    raise CannotPlace(
        f"cannot take memory of NUMA node {node}: {os.strerror(ctypes.get_errno())}; a container needs "
        "CAP_SYS_NICE for that, and --pin-cores does without"
    )


def _listed(numbers: Collection[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
