"""What this host is like for a node that is to run on it."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from store_server.commands.doctor.finding import fail, ok, unknown, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_server.commands.doctor.finding import Finding
    from store_server.commands.doctor.host_facts import HostFacts, RootFacts

_HOST: Final = "this host"
_ENOUGH_FILES: Final = 65_536
_LEAST_FILES: Final = 1024
_NODE_BYTES: Final = 512 << 20  # of a process without tables, with room for calls
_LITTLE_FREE: Final = 0.05
_OVER_NETWORK: Final = frozenset(("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a node is to do there."""

    workers: int = 1
    huge_pages: bool = False
    numa_nodes: str | None = None
    in_memory_bytes: int = 0
    memory_budget_bytes: int = 0


def judge_host(facts: HostFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield what is found of the host, in the order in which it matters."""
    yield _files(facts)
    yield _memory(facts, wanted)
    yield _swap(facts, wanted)
    yield _huge_pages(facts, wanted)
    yield _numa(facts, wanted)
    yield _clock(facts)


def judge_root(facts: RootFacts) -> Iterator[Finding]:
    """Yield what is found of the data root's place."""
    root = str(facts.path)
    if facts.not_written is None:
        yield ok("root", root, f"can be written, {facts.filesystem or 'unknown file system'}")
    else:
        why = facts.not_written.strerror or facts.not_written
        found = f"cannot be written ({why}): it is served, but nothing is published or copied"
        yield warn("root", root, found, _to_be_written(facts.not_written))
    if facts.unfinished_bytes:
        change = "nothing to repair: the next command that writes there removes them; drop, import and publish do"
        yield warn("unfinished", root, f"{facts.unfinished_bytes:,} bytes of versions whose writer is gone", change)
    if facts.filesystem in _OVER_NETWORK:
        change = "put the root on a local disk: a network that fails ends every worker that reads a mapped page"
        yield warn("file system", root, f"lies on {facts.filesystem}", change)
    share = facts.free_bytes / max(facts.total_bytes, 1)
    room = f"{_gib(facts.free_bytes)} of {_gib(facts.total_bytes)} free"
    if share < _LITTLE_FREE:
        change = "drop old versions (`engram-store drop`), or enlarge the disk: a new version lies beside the old one"
        yield warn("free space", root, f"{room}, less than {_LITTLE_FREE:.0%}", change)
    else:
        yield ok("free space", root, room)


def _to_be_written(refusal: OSError) -> str:
    if refusal.errno in (errno.ENOSPC, errno.EDQUOT):
        return "drop old versions (`engram-store drop`), which needs no room, or enlarge the disk or the quota"
    if refusal.errno in (errno.EACCES, errno.EPERM):
        return "give it to the user that runs the node"
    if refusal.errno == errno.EROFS:
        return "mount it for writing; if the kernel made it read-only (see dmesg), replace the disk"
    return "see dmesg: the disk may fail"


def _files(facts: HostFacts) -> Finding:
    found = f"{facts.most_files:,} a process"
    change = "raise it: LimitNOFILE=1048576 for systemd, --ulimit nofile for containers"
    if facts.most_files <= _LEAST_FILES:
        found += "; a node needs one for each file of its tables and each connection"
        return fail("open files", _HOST, found, change)
    if facts.most_files < _ENOUGH_FILES:
        return warn("open files", _HOST, f"{found}, less than {_ENOUGH_FILES:,}", change)
    return ok("open files", _HOST, found)


def _memory(facts: HostFacts, wanted: Wanted) -> Finding:
    limit = min(facts.memory_bytes, facts.cgroup_bytes or facts.memory_bytes)
    whose = "the control group's limit" if facts.cgroup_bytes and facts.cgroup_bytes < facts.memory_bytes else "RAM"
    needed = wanted.in_memory_bytes + wanted.memory_budget_bytes + wanted.workers * _NODE_BYTES
    found = f"{_gib(limit)} ({whose}), about {_gib(needed)} needed"
    if needed <= limit:
        return ok("memory", _HOST, found)
    change = "load fewer tables with --in-memory, lower --memory-budget, or give the node more memory"
    return fail("memory", _HOST, found, change)


def _swap(facts: HostFacts, wanted: Wanted) -> Finding:
    if facts.swap_bytes and wanted.in_memory_bytes:
        change = "switch it off (swapoff -a, MemorySwapMax=0): rows that were swapped out come late"
        return warn("swap", _HOST, f"{_gib(facts.swap_bytes)}, beside tables in RAM", change)
    return ok("swap", _HOST, _gib(facts.swap_bytes) if facts.swap_bytes else "none")


def _huge_pages(facts: HostFacts, wanted: Wanted) -> Finding:
    found = f"transparent {facts.thp or 'not known'}, of shared memory {facts.thp_shared or 'not known'}"
    # What several workers share is in shared memory, what one has alone is not.
    decisive = facts.thp_shared if wanted.workers > 1 else facts.thp
    name = "shmem_enabled" if wanted.workers > 1 else "enabled"
    if wanted.huge_pages and decisive in (None, "never", "deny"):
        change = (
            f"echo advise > /sys/kernel/mm/transparent_hugepage/{name}"
            if wanted.workers > 1
            else (f"echo madvise > /sys/kernel/mm/transparent_hugepage/{name}")
        )
        return warn("huge pages", _HOST, f"{found}: --huge-pages gets none", change)
    return ok("huge pages", _HOST, found)


def _numa(facts: HostFacts, wanted: Wanted) -> Finding:
    count = len(facts.numa_nodes)
    if not count:
        return unknown("NUMA", _HOST, "the kernel names no NUMA nodes")
    found = f"{count} node{'s' if count > 1 else ''}"
    if count > 1 and wanted.numa_nodes is None:
        change = f"give --numa-nodes 0-{count - 1} --workers {count}, so that each worker reads memory of its own node"
        return warn("NUMA", _HOST, f"{found}, workers are on any", change)
    return ok("NUMA", _HOST, found)


def _clock(facts: HostFacts) -> Finding:
    change = "run chronyd or systemd-timesyncd: certificates, tokens and logs go by the clock"
    if facts.is_clock_set is None:
        return unknown("clock", _HOST, "the kernel does not say whether the clock is kept right", change)
    if not facts.is_clock_set:
        return warn("clock", _HOST, "nothing keeps it right", change)
    return ok("clock", _HOST, "is kept right")


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / (1 << 30):,.1f} GiB"
