"""What doctor makes of hosts and data roots that are made up."""

import dataclasses
import errno
import os
import threading
from pathlib import Path

import pytest

from store_server.commands.doctor.here import DiskSilent, place_of
from store_server.commands.doctor.host import Wanted, judge_host, judge_root
from store_server.commands.doctor.host_facts import HostFacts, RootFacts, look_at_host, look_at_root
from store_server.storage.root_lock import root_lock

GIB = 1 << 30
GOOD = HostFacts(
    most_files=1 << 20,
    memory_bytes=64 * GIB,
    swap_bytes=0,
    cgroup_bytes=None,
    thp="madvise",
    thp_shared="advise",
    numa_nodes=(0,),
    is_clock_set=True,
)
ROOM = RootFacts(
    path=Path("/data"),
    free_bytes=50 * GIB,
    total_bytes=100 * GIB,
    not_written=None,
    unfinished_bytes=0,
    filesystem="ext4",
)


def judged(facts=GOOD, wanted=None, **changed):
    found = judge_host(dataclasses.replace(facts, **changed), wanted or Wanted())
    return {finding.check: finding for finding in found}


def bad(findings):
    return {check: finding.verdict.value for check, finding in findings.items() if finding.verdict != "ok"}


def test_a_good_host_leaves_nothing_to_do():
    assert bad(judged(wanted=Wanted(huge_pages=True, workers=2, in_memory_bytes=8 * GIB))) == {}


@pytest.mark.parametrize(
    ("changed", "wanted", "expected"),
    [
        ({"most_files": 1024}, Wanted(), {"open files": "fail"}),
        ({"most_files": 20_000}, Wanted(), {"open files": "warn"}),
        ({"cgroup_bytes": 4 * GIB}, Wanted(in_memory_bytes=4 * GIB), {"memory": "fail"}),
        ({}, Wanted(memory_budget_bytes=64 * GIB), {"memory": "fail"}),
        ({"swap_bytes": GIB}, Wanted(), {}),
        ({"swap_bytes": GIB}, Wanted(in_memory_bytes=GIB), {"swap": "warn"}),
        ({"thp": "never"}, Wanted(), {}),
        ({"thp": "never"}, Wanted(huge_pages=True), {"huge pages": "warn"}),
        ({"thp_shared": "never"}, Wanted(huge_pages=True), {}),
        ({"thp_shared": "never"}, Wanted(huge_pages=True, workers=2), {"huge pages": "warn"}),
        ({"numa_nodes": (0, 1)}, Wanted(), {"NUMA": "warn"}),
        ({"numa_nodes": (0, 1)}, Wanted(numa_nodes="0,1"), {}),
        ({"numa_nodes": ()}, Wanted(), {"NUMA": "unknown"}),
        ({"is_clock_set": False}, Wanted(), {"clock": "warn"}),
        ({"is_clock_set": None}, Wanted(), {"clock": "unknown"}),
    ],
)
def test_what_a_host_lacks_for_what_is_wanted_is_found(changed, wanted, expected):
    findings = judged(wanted=wanted, **changed)

    assert bad(findings) == expected
    assert all(finding.change for finding in findings.values() if finding.verdict in ("warn", "fail"))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, {}),
        ({"not_written": OSError(errno.EIO, "Input/output error")}, {"root": "warn"}),
        ({"free_bytes": GIB}, {"free space": "warn"}),
        ({"filesystem": "nfs4"}, {"file system": "warn"}),
        ({"unfinished_bytes": 4096}, {"unfinished": "warn"}),
    ],
)
def test_what_is_wrong_with_the_place_of_a_root_is_found(changed, expected):
    findings = {finding.check: finding for finding in judge_root(dataclasses.replace(ROOM, **changed))}

    assert bad(findings) == expected


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "drop old versions"),
        (errno.EDQUOT, "drop old versions"),
        (errno.EACCES, "the user that runs the node"),
        (errno.EROFS, "mount it for writing"),
        (errno.EIO, "the disk may fail"),
    ],
)
def test_what_is_to_be_done_about_a_root_that_cannot_be_written_goes_by_the_reason(number, advice):
    refused = OSError(number, os.strerror(number))

    found = next(judge_root(dataclasses.replace(ROOM, not_written=refused)))

    assert os.strerror(number) in found.found
    assert advice in found.change


def test_a_disk_that_does_not_answer_is_not_waited_for():
    answers = threading.Event()

    def look(_root):
        answers.wait()
        return ROOM

    try:
        with pytest.raises(DiskSilent, match=r"its disk has not answered for 0.01 s"):
            place_of(Path("/data"), look=look, seconds=0.01)
    finally:
        answers.set()


def test_a_place_that_is_not_there_is_found_and_what_nobody_expected_is_raised(tmp_path):
    def look(_root):
        raise RuntimeError("unexpected")

    assert bad({"root": place_of(tmp_path / "gone")}) == {"root": "fail"}
    with pytest.raises(RuntimeError, match="unexpected"):
        place_of(tmp_path, look=look)


def test_facts_are_read_where_the_kernel_writes_them(tmp_path):
    files = {
        "proc/meminfo": "MemTotal:       1024 kB\nSwapTotal:       8 kB\n",
        "proc/self/cgroup": "0::/system.slice/node.service\n",
        "sys/fs/cgroup/system.slice/memory.max": "1000000\n",
        "sys/fs/cgroup/system.slice/node.service/memory.max": "max\n",
        "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
        "sys/kernel/mm/transparent_hugepage/shmem_enabled": "always within_size advise [never] deny force\n",
        "sys/devices/system/node/node0/cpulist": "0-3\n",
        "sys/devices/system/node/node1/cpulist": "4-7\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    facts = look_at_host(tmp_path / "proc", tmp_path / "sys")

    assert (facts.memory_bytes, facts.swap_bytes, facts.cgroup_bytes) == (1 << 20, 8 << 10, 1_000_000)
    assert (facts.thp, facts.thp_shared, facts.numa_nodes) == ("madvise", "never", (0, 1))


def test_what_a_writer_left_is_found_once_it_is_gone_and_until_the_next_one_comes(tmp_path):
    with root_lock(tmp_path):
        left = tmp_path / "staging" / "0123456789abcdef"
        left.mkdir()
        (left / "rows").write_bytes(bytes(8192))
        assert look_at_root(tmp_path).unfinished_bytes == 0

    assert look_at_root(tmp_path).unfinished_bytes == 8192
    with root_lock(tmp_path):
        pass
    assert look_at_root(tmp_path).unfinished_bytes == 0


def test_the_kind_of_file_system_is_that_of_the_innermost_mount(tmp_path):
    root = tmp_path / "a b" / "root"
    root.mkdir(parents=True)
    inner = str(tmp_path / "a b").replace(" ", "\\040")
    (tmp_path / "mounts").write_text(f"x / ext4 rw 0 0\ny {inner} nfs4 rw,noatime 0 0\nz /elsewhere xfs ro 0 0\n")

    assert look_at_root(root, tmp_path / "mounts").filesystem == "nfs4"
