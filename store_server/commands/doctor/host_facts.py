"""What the kernel says of this host and of the place of a data root."""

from __future__ import annotations

import ctypes
import os
import re
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from store_server.storage.root_lock import unfinished_bytes
from store_server.storage.writable import why_not_written

_TIMEX_BYTES: Final = 512  # more than any kernel's struct timex
_TIME_ERROR: Final = 5
_CGROUP_LIMITS: Final = ("memory.max", "memory/memory.limit_in_bytes")
_NO_LIMIT_BYTES: Final = 1 << 60


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """None where the kernel does not say."""

    most_files: int
    """How many files a process may open once it has raised its soft limit."""
    memory_bytes: int
    swap_bytes: int
    cgroup_bytes: int | None
    """How much RAM the control group may have; None for no limit."""
    thp: str | None
    """Transparent huge pages: always, madvise or never."""
    thp_shared: str | None
    """The same for shared memory."""
    numa_nodes: tuple[int, ...]
    is_clock_set: bool | None
    """Whether something keeps the clock right, as NTP does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RootFacts:
    """Where a data root lies."""

    path: Path
    free_bytes: int
    total_bytes: int
    not_written: OSError | None
    """What keeps a block from being written there."""
    unfinished_bytes: int
    """Of versions that somebody began to write who is gone."""
    filesystem: str


def look_at_host(proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> HostFacts:
    """Return what is known of this host."""
    memory = dict(re.findall(r"^(\w+):\s+(\d+) kB$", _text(proc / "meminfo") or "", re.MULTILINE))
    huge = sys / "kernel/mm/transparent_hugepage"
    return HostFacts(
        most_files=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        memory_bytes=int(memory.get("MemTotal", 0)) * 1024,
        swap_bytes=int(memory.get("SwapTotal", 0)) * 1024,
        cgroup_bytes=_cgroup_bytes(proc, sys / "fs/cgroup"),
        thp=_chosen(huge / "enabled"),
        thp_shared=_chosen(huge / "shmem_enabled"),
        numa_nodes=tuple(sorted(int(path.name[4:]) for path in (sys / "devices/system/node").glob("node[0-9]*"))),
        is_clock_set=_is_clock_set(),
    )


def look_at_root(root: Path, mounts: Path = Path("/proc/self/mounts")) -> RootFacts:
    """Return what is known of the place of a data root. Raises OSError."""
    room = os.statvfs(root)
    return RootFacts(
        path=root,
        free_bytes=room.f_bavail * room.f_frsize,
        total_bytes=room.f_blocks * room.f_frsize,
        not_written=why_not_written(root),
        unfinished_bytes=unfinished_bytes(root),
        filesystem=_filesystem_of(root.resolve(), _text(mounts) or ""),
    )


def _filesystem_of(path: Path, mounts: str) -> str:
    """Return the type of the mount that a path is in: the longest of those above it."""
    longest, found = -1, ""
    for line in mounts.splitlines():
        _, where, filesystem, *_ = line.split(" ")
        point = Path(where.encode().decode("unicode_escape"))
        if path.is_relative_to(point) and len(point.parts) >= longest:  # of two at one place the later is on top
            longest, found = len(point.parts), filesystem
    return found


def _cgroup_bytes(proc: Path, cgroup: Path) -> int | None:
    """Return the least limit among the control groups above this process, of either version."""
    own = [line.rpartition(":")[2].lstrip("/") for line in (_text(proc / "self/cgroup") or "").splitlines()]
    folders = {cgroup, *(folder for each in own for folder in (cgroup / each, *(cgroup / each).parents))}
    texts = (_text(folder / name) for folder in folders if folder.is_relative_to(cgroup) for name in _CGROUP_LIMITS)
    limits = [int(text) for text in texts if text and text.strip().isdigit()]
    least = min(limits, default=_NO_LIMIT_BYTES)
    return least if least < _NO_LIMIT_BYTES else None


def _chosen(path: Path) -> str | None:
    """Return the word in brackets: "always [madvise] never"."""
    found = re.search(r"\[(\w+)\]", _text(path) or "")
    return found[1] if found else None


def _is_clock_set() -> bool | None:
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        state = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))  # all zero: only asks
    except AttributeError:
        return None
    return None if state < 0 else state != _TIME_ERROR


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="surrogateescape")
    except OSError:
        return None
