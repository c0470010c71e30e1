"""What every backend must do, checked against plain NumPy. A new backend joins by one line in HOLDERS."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from store_server.storage import Backend, BackendClosed, DataRoot

# How a version is written, and whether it is loaded into memory.
HOLDERS = {
    "mmap": ("mmap", False),
    "lmdb": ("lmdb", False),
    "safetensors": ("safetensors", False),
    "memory-from-mmap": ("mmap", True),
    "memory-from-lmdb": ("lmdb", True),
    "memory-from-safetensors": ("safetensors", True),
}
MIB = 1 << 20
# 1001 does not divide a number of pages: LMDB's blocks lie there at addresses with nothing in common.
ROW_BYTES = (1, 7, 8, 264, 1001, 4096, MIB)

Open = Callable[[NDArray[np.uint8]], Backend]
pytestmark = pytest.mark.parametrize("holder", HOLDERS)


@pytest.fixture
def open_rows(holder: str, root: Path, publish: Callable[..., str], open_version: Callable[..., Backend]) -> Open:
    """Store rows and open them with one holder."""

    def open_with_holder(rows: NDArray[np.uint8]) -> Backend:
        written_as, in_memory = HOLDERS[holder]
        publish(root, "table", rows, backend=written_as)
        return open_version(root, "table", in_memory=in_memory)

    return open_with_holder


def random_rows(num_rows: int, row_bytes: int) -> NDArray[np.uint8]:
    content = np.random.default_rng([num_rows, row_bytes]).bytes(num_rows * row_bytes)
    return np.frombuffer(content, np.uint8).reshape(num_rows, row_bytes)


def gathered(backend: Backend, rows: list[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
    numbers = np.array(rows, np.int64)
    out = np.full((len(numbers), backend.row_bytes), 0xEE, np.uint8)
    backend.gather(numbers, out)
    return out


@pytest.mark.parametrize("row_bytes", ROW_BYTES)
def test_rows_of_any_width_come_back_in_the_order_asked_for(open_rows: Open, row_bytes: int) -> None:
    table = random_rows(max(3, (5 * MIB // 2) // row_bytes), row_bytes)
    rows = np.random.default_rng(1).integers(0, len(table), max(20, 20_000 // row_bytes))

    backend = open_rows(table)

    assert np.array_equal(gathered(backend, rows), table[rows])


def test_a_hundred_thousand_rows_come_back_at_once(open_rows: Open) -> None:
    table = random_rows(50_000, 264)
    rows = np.random.default_rng(2).integers(0, len(table), 100_000)

    assert np.array_equal(gathered(open_rows(table), rows), table[rows])


def test_rows_may_repeat(open_rows: Open) -> None:
    table = random_rows(10_000, 24)
    rows = [9_999, 0, 0, 9_999, 5, 5, 5, 0]

    assert np.array_equal(gathered(open_rows(table), rows), table[rows])


def test_no_rows_are_an_answer_too(open_rows: Open) -> None:
    assert gathered(open_rows(random_rows(10, 264)), []).shape == (0, 264)


def test_a_table_may_have_a_single_row(open_rows: Open) -> None:
    table = random_rows(1, 3)

    assert np.array_equal(gathered(open_rows(table), [0, 0]), table[[0, 0]])


@pytest.mark.parametrize("row_bytes", [7, 264, 1001])
def test_rows_on_both_sides_of_every_block_border_are_right(
    open_rows: Open, root: Path, holder: str, row_bytes: int
) -> None:
    table = random_rows(3 * MIB // row_bytes, row_bytes)
    backend = open_rows(table)
    data_root = DataRoot.open(root)
    manifest = data_root.manifest("table", data_root.current_version("table"))
    borders = np.arange(manifest.block_rows, len(table), manifest.block_rows)

    rows = np.concatenate([[0, len(table) - 1], borders - 1, borders])

    assert len(borders) >= 2, holder
    assert np.array_equal(gathered(backend, rows), table[rows])


def test_any_choice_of_rows_equals_numpy(open_rows: Open) -> None:
    table = random_rows(9_000, 264)
    backend = open_rows(table)

    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(st.lists(st.integers(0, len(table) - 1), max_size=200))
    def check(rows: list[int]) -> None:
        assert np.array_equal(gathered(backend, rows), table[rows])

    check()


def test_blocks_put_together_are_the_table(open_rows: Open) -> None:
    table = random_rows(9_000, 264)

    blocks = list(open_rows(table).blocks())

    assert len(blocks) == 3
    assert np.array_equal(np.concatenate(blocks), table)


def test_a_backend_says_what_it_holds(open_rows: Open, holder: str) -> None:
    backend = open_rows(random_rows(10, 264))

    assert (backend.num_rows, backend.row_bytes, backend.kind) == (10, 264, holder.partition("-")[0])


def test_rows_that_lie_in_ram_are_known_to_be_resident(open_rows: Open) -> None:
    backend = open_rows(random_rows(9_000, 264))

    backend.refresh_residency()

    assert backend.resident


def test_a_closed_backend_refuses_instead_of_reading_freed_memory(open_rows: Open) -> None:
    backend = open_rows(random_rows(100, 264))

    backend.close()
    backend.close()

    assert not backend.resident
    with pytest.raises(BackendClosed, match="'table'"):
        gathered(backend, [0])
    with pytest.raises(BackendClosed):
        next(iter(backend.blocks()))


def test_closing_during_gathers_in_other_threads_ends_them_cleanly(open_rows: Open) -> None:
    table = random_rows(9_000, 264)
    rows = np.random.default_rng(3).integers(0, len(table), 4096)
    backend = open_rows(table)
    gathering, wrong = threading.Barrier(4), []

    def gather_until_closed() -> None:
        gathering.wait(10)
        try:
            while True:
                if not np.array_equal(gathered(backend, rows), table[rows]):
                    wrong.append(True)
        except BackendClosed:
            return

    threads = [threading.Thread(target=gather_until_closed) for _ in range(3)]
    for thread in threads:
        thread.start()
    gathering.wait(10)
    assert np.array_equal(gathered(backend, rows), table[rows])
    backend.close()
    for thread in threads:
        thread.join(10)

    assert not any(thread.is_alive() for thread in threads)
    assert not wrong


def test_one_version_may_be_open_several_times_in_a_process(
    open_rows: Open, open_version: Callable[..., Backend], root: Path, holder: str
) -> None:
    table = random_rows(9_000, 264)
    first = open_rows(table)
    opened: list[Backend] = []

    def open_again() -> None:
        opened.append(open_version(root, "table", in_memory=HOLDERS[holder][1]))

    threads = [threading.Thread(target=open_again) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    first.close()

    assert len(opened) == 8
    for backend in opened:
        assert np.array_equal(gathered(backend, [8_999, 0]), table[[8_999, 0]])


def test_a_version_outlives_its_files_while_it_is_open(open_rows: Open, root: Path) -> None:
    table = random_rows(9_000, 264)
    backend = open_rows(table)

    for path in root.glob("tables/table/versions/*/*"):
        path.unlink()

    assert np.array_equal(gathered(backend, [8_999, 0]), table[[8_999, 0]])
    assert np.array_equal(np.concatenate(list(backend.blocks())), table)


def test_a_forked_process_reads_what_its_parent_opened(open_rows: Open, root: Path, holder: str) -> None:
    open_rows(random_rows(9_000, 264)).close()
    script = """
        import os, sys
        import numpy as np
        from store_server.storage import DataRoot

        root = DataRoot.open(sys.argv[1])
        version = root.current_version("table")
        backend = root.open_backend("table", version, in_memory=sys.argv[2] == "True")
        rows = np.array([8_999, 0, 4_095])
        expected, found = np.empty((3, 264), np.uint8), np.empty((3, 264), np.uint8)
        backend.gather(rows, expected)
        child = os.fork()
        if child == 0:
            backend.gather(rows, found)
            again = root.open_backend("table", version)
            os._exit(0 if np.array_equal(found, expected) and again.num_rows == 9_000 else 1)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """

    command = [sys.executable, "-c", textwrap.dedent(script), str(root), str(HOLDERS[holder][1])]

    assert subprocess.run(command, check=False, timeout=60).returncode == 0
