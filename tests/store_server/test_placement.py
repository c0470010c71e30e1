"""Cores and NUMA nodes: who gets which, and what is refused."""

import os
import subprocess
import sys

import pytest

from store_server.placement import Placement, parse_numbers, place

CORES = sorted(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0", (0,)), ("0,2,4-7", (0, 2, 4, 5, 6, 7)), (" 3 , 1-2,2 ", (1, 2, 3)), ("5-5\n", (5,))],
)
def test_a_list_of_numbers_is_read_as_the_kernel_writes_it(text, numbers):
    assert parse_numbers(text) == numbers


@pytest.mark.parametrize("text", ["", "x", "1,", "-1", "3-1", "0x1", "1;2", "1-2-3"])
def test_what_is_no_list_of_numbers_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="such as 0,2,4-7"):
        parse_numbers(text)


@pytest.fixture
def eight_cores(tmp_path):
    """Two nodes of four cores, which is more than this host may have, and one of memory alone."""
    for node, cores in enumerate(["0-3", "4-7", "\n"]):
        (tmp_path / f"node{node}").mkdir()
        (tmp_path / f"node{node}" / "cpulist").write_text(cores)
    return {"allowed": range(8), "nodes_path": tmp_path}


@pytest.mark.parametrize(
    ("workers", "cores", "parts"),
    [(1, [0, 1, 5], [(0, 1, 5)]), (2, [0, 1, 4, 5], [(0, 1), (4, 5)]), (3, [0, 1, 2, 3, 4], [(0,), (1, 2), (3, 4)])],
)
def test_cores_are_divided_among_the_workers_neighbours_together(eight_cores, workers, cores, parts):
    placements = place(workers, pin_cores=cores, **eight_cores)

    assert placements == [Placement(cores=part) for part in parts]


def test_numa_nodes_take_turns(eight_cores):
    first, second = Placement(cores=(0, 1, 2, 3), numa_node=0), Placement(cores=(4, 5, 6, 7), numa_node=1)

    assert place(3, numa_nodes=(0, 1), **eight_cores) == [first, second, first]


def test_a_numa_node_gives_no_cores_that_this_process_may_not_use(eight_cores):
    eight_cores["allowed"] = {1, 6}

    assert place(1, numa_nodes=(1,), **eight_cores) == [Placement(cores=(6,), numa_node=1)]


def test_without_wishes_the_kernel_decides():
    assert place(2) == [None, None]


@pytest.mark.parametrize(
    ("workers", "wishes", "message"),
    [
        (1, {"pin_cores": (0, 9)}, "may use cores 0, 1, 2, 3, 4, 5, 6, 7, got 9"),
        (3, {"pin_cores": (0, 1)}, "3 workers need 3 cores at least, got 2: 0, 1"),
        (1, {"numa_nodes": (7,)}, "no NUMA node 7 with cores: this host has nodes 0, 1, 2"),
        (1, {"numa_nodes": (2,)}, "no NUMA node 2 with cores"),
        (1, {"numa_nodes": (0, 1)}, "2 NUMA nodes need as many --workers at least, got 1"),
        (1, {"numa_nodes": (1,), "allowed": {0}}, "cores of NUMA node 1, 4, 5, 6, 7, this process may use none, but 0"),
        (1, {"numa_nodes": (0,), "pin_cores": (0,)}, "not both"),
    ],
)
def test_what_cannot_be_had_is_refused(eight_cores, workers, wishes, message):
    with pytest.raises(ValueError, match=message):
        place(workers, **(eight_cores | wishes))


def taken_place(placement, show):
    program = f"""
import threading
from pathlib import Path
from store_server.placement import CannotPlace, Placement, take_place
waiting = threading.Event()
threading.Thread(target=waiting.wait).start()
try:
    take_place({placement})
    {show}
except CannotPlace as error:
    print(error)
finally:
    waiting.set()
"""
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    ).stdout


def test_a_process_runs_on_its_cores_with_all_its_threads():
    show = "print({tuple(os.sched_getaffinity(int(task.name))) for task in Path('/proc/self/task').iterdir()})"

    assert taken_place(f"Placement(cores=({CORES[-1]},))", f"import os; {show}") == f"{{({CORES[-1]},)}}\n"


def test_a_process_takes_memory_of_its_numa_node():
    show = "print(Path('/proc/self/numa_maps').read_text())"

    shown = taken_place(f"Placement(cores=({CORES[0]},), numa_node=0)", show)

    if "CAP_SYS_NICE" in shown or "numa_maps" in shown:
        pytest.skip(shown.strip())
    assert " prefer:0 " in shown


def test_a_core_that_is_not_there_is_an_error_that_names_it():
    assert "cannot run on cores 4000" in taken_place("Placement(cores=(4000,))", "pass")


def test_a_numa_node_that_is_not_there_is_an_error_that_names_it():
    assert "cannot take memory of NUMA node 63" in taken_place(
        f"Placement(cores=({CORES[0]},), numa_node=63)", "print('taken')"
    )
