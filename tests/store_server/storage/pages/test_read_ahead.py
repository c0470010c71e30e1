"""Rows of a table that is on disk, or partly so: what is read ahead, what is believed, and what if that is wrong."""

from __future__ import annotations

import mmap
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.cold_pages import bytes_mapped_here, forget_pages, mapped_bytes_of, pages_in_cache
from support.rows import random_rows

from store_server.storage import Backend, BackendClosed, DataRoot, ResidentSet, StorageFailure
from store_server.storage.pages.advice import POPULATE_READ, advise, can_populate
from store_server.storage.pages.file_map import FileMap
from store_server.storage.pages.page_map import PageMap

MIB = 1 << 20
WAIT_SECONDS = 30.0
KINDS = ("mmap", "lmdb", "safetensors")
OpenVersion = Callable[..., Backend]
Publish = Callable[..., str]


def gathered(backend: Backend, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    out = np.full((len(rows), backend.row_bytes), 0xEE, np.uint8)
    backend.gather(rows, out)
    return out


def require_a_disk(root: Path, publish: Publish) -> None:
    """Skip the test where the page cache is all there is: a tmpfs drops no page."""
    publish(root, "probe", random_rows(1000, 264))
    if forget_pages(root, "probe") == 1:
        pytest.skip("this file system keeps its pages; the test needs one on a disk")


def known_to_be_in_ram(backend: Backend, rows: NDArray[np.int64]) -> bool:
    return backend.gather_from_ram(rows, np.empty((len(rows), backend.row_bytes), np.uint8))


@pytest.mark.parametrize("row_bytes", [1, 264, 1001, 4096, 5000, MIB])
@pytest.mark.parametrize("kind", KINDS)
def test_cold_rows_are_read_and_are_known_to_be_in_ram_from_then_on(
    root: Path, publish: Publish, open_version: OpenVersion, kind: str, row_bytes: int
) -> None:
    table = random_rows(max(3, 3 * MIB // row_bytes), row_bytes)
    publish(root, "t", table, backend=kind)
    forget_pages(root, "t")
    backend = open_version(root, "t")
    rows = np.random.default_rng(0).integers(0, len(table), 50)
    out = np.full((50, row_bytes), 0xEE, np.uint8)

    assert not backend.gather_from_ram(rows, out)
    assert (out == 0xEE).all()
    assert np.array_equal(gathered(backend, rows), table[rows])
    assert backend.gather_from_ram(rows[::-1].copy(), out)
    assert np.array_equal(out, table[rows[::-1]])


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_pages_of_the_rows_are_read(
    root: Path, publish: Publish, open_version: OpenVersion, kind: str
) -> None:
    table = random_rows(100_000, 264)
    publish(root, "t", table, backend=kind)
    forget_pages(root, "t")
    before = pages_in_cache(root, "t").resident_bytes

    gathered(open_version(root, "t"), np.arange(0, 100_000, 1000))

    pages_a_row = 4 if kind == "safetensors" else 2
    assert pages_in_cache(root, "t").resident_bytes - before <= 100 * pages_a_row * mmap.PAGESIZE


def test_more_rows_than_may_be_under_way_come_in_parts(root: Path, publish: Publish) -> None:
    table = random_rows(50_000, 264)
    version = publish(root, "t", table)
    forget_pages(root, "t")
    resident_set = ResidentSet(16 * MIB)
    backend = DataRoot.open(root).open_backend("t", version, resident_set=resident_set)
    rows = np.random.default_rng(1).integers(0, len(table), 60_000)

    assert len(rows) > 10 * resident_set.most_pages_under_way
    assert np.array_equal(gathered(backend, rows), table[rows])
    backend.close()


@pytest.mark.parametrize("kind", KINDS)
def test_rows_believed_to_be_in_ram_are_right_also_when_they_are_not_and_then_nothing_is_believed(
    root: Path, publish: Publish, open_version: OpenVersion, kind: str
) -> None:
    table = random_rows(20_000, 264)
    publish(root, "t", table, backend=kind)
    backend = open_version(root, "t")
    backend.refresh_residency()
    assert backend.resident
    if forget_pages(root, "t") > 0.5:
        pytest.skip("this file system or process keeps the pages")
    rows = np.random.default_rng(2).integers(0, len(table), 500)
    out = np.empty((500, 264), np.uint8)

    assert backend.gather_from_ram(rows, out)
    assert np.array_equal(out, table[rows])
    assert not known_to_be_in_ram(backend, rows)
    backend.refresh_residency()
    assert known_to_be_in_ram(backend, rows)


def test_residency_is_asked_for_piece_by_piece_when_time_is_short(
    root: Path, publish: Publish, open_version: OpenVersion
) -> None:
    publish(root, "t", np.zeros((150_000, 1024), np.uint8))  # three pieces of 64 MiB
    backend = open_version(root, "t")
    long_past = 0.0

    assert [backend.refresh_residency(long_past) for _ in range(3)] == [False, False, True]
    assert backend.resident


def test_a_budget_is_kept_while_rows_in_use_stay(root: Path, publish: Publish) -> None:
    require_a_disk(root, publish)
    budget, table = 16 * MIB, random_rows(250_000, 264)
    version = publish(root, "t", table)
    forget_pages(root, "t")
    backend = DataRoot.open(root).open_backend("t", version, resident_set=ResidentSet(budget))
    chosen = np.random.default_rng(3)
    in_use = chosen.integers(0, len(table), 16)
    gathered(backend, in_use)

    for _ in range(25):
        rows = chosen.integers(0, len(table), 1000)
        assert np.array_equal(gathered(backend, rows), table[rows])
        assert known_to_be_in_ram(backend, in_use)
        assert pages_in_cache(root, "t").resident_bytes <= budget + MIB
    backend.close()


def test_a_budget_holds_for_several_tables_together_and_for_what_others_read(root: Path, publish: Publish) -> None:
    require_a_disk(root, publish)
    resident_set, backends = ResidentSet(16 * MIB), []
    for name in ("a", "b"):
        version = publish(root, name, random_rows(60_000, 264))
        backends.append(DataRoot.open(root).open_backend(name, version, resident_set=resident_set))
        backends[-1].refresh_residency()
    assert resident_set.pages_in_ram() * mmap.PAGESIZE > 30 * MIB

    resident_set.shrink()

    in_cache = pages_in_cache(root, "a").resident_bytes + pages_in_cache(root, "b").resident_bytes
    assert resident_set.pages_in_ram() * mmap.PAGESIZE <= 16 * MIB
    assert in_cache <= 17 * MIB
    for backend in backends:
        backend.close()
    assert resident_set.pages_in_ram() == 0


@pytest.mark.parametrize("kind", ["mmap", "safetensors"])
def test_a_budget_is_kept_when_the_page_cache_holds_the_whole_table(root: Path, publish: Publish, kind: str) -> None:
    """A fault then maps what lies around its page in the cache, which nobody asked for."""
    budget, table = 16 * MIB, random_rows(120_000, 264)
    version = publish(root, "t", table, backend=kind)
    backend = DataRoot.open(root).open_backend("t", version, resident_set=ResidentSet(budget))
    chosen = np.random.default_rng(5)

    for _ in range(6):
        rows = chosen.integers(0, len(table), 1000)
        assert np.array_equal(gathered(backend, rows), table[rows])
        assert bytes_mapped_here(root, "t") <= budget
    assert bytes_mapped_here(root, "t") > budget // 2
    backend.close()


def test_a_budget_is_kept_when_many_threads_read_a_table_that_the_page_cache_holds(
    root: Path, publish: Publish
) -> None:
    budget, table = 16 * MIB, random_rows(120_000, 264)
    version = publish(root, "t", table)
    backend = DataRoot.open(root).open_backend("t", version, resident_set=ResidentSet(budget))

    def read(seed: int) -> bool:
        chosen = np.random.default_rng(seed).integers(0, len(table), (8, 500))
        return all(np.array_equal(gathered(backend, rows), table[rows]) for rows in chosen)

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(read, range(4)))
    assert bytes_mapped_here(root, "t") <= budget
    backend.close()


def test_what_is_mapped_without_being_known_goes_with_what_is_dropped_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(1000 * mmap.PAGESIZE))
    with path.open("rb") as file:
        page_map = PageMap(FileMap(path, file.fileno(), 1000 * mmap.PAGESIZE), 264)
    ResidentSet(16 * MIB).add(page_map)
    assert not page_map.file_map.data[:: mmap.PAGESIZE].any()  # now all is mapped
    page_map.note_read(np.arange(0, 1000, 2))
    page_map.note_used(np.array([10, 20]))

    page_map.drop_unused(0, 1000)

    assert page_map.pages_in_ram() == 2
    assert mapped_bytes_of({path}) == 2 * mmap.PAGESIZE


def test_what_is_under_way_has_a_bound(root: Path) -> None:
    resident_set, entered = ResidentSet(), threading.Event()

    def enter() -> None:
        with resident_set.room_for(1):
            entered.set()

    with resident_set.room_for(resident_set.most_pages_under_way):
        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.05)

    assert entered.wait(WAIT_SECONDS)
    thread.join(WAIT_SECONDS)


def test_a_budget_that_could_not_hold_a_single_read_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 16,777,216 bytes, got 1"):
        ResidentSet(1)


@pytest.mark.parametrize("kind", KINDS)
def test_closing_during_cold_gathers_ends_them_cleanly(root: Path, publish: Publish, kind: str) -> None:
    table = random_rows(60_000, 264)
    version = publish(root, "t", table, backend=kind)
    forget_pages(root, "t")
    backend = DataRoot.open(root).open_backend("t", version, resident_set=ResidentSet(16 * MIB))
    gathering, wrong = threading.Barrier(4), []

    def gather_until_closed(seed: int) -> None:
        chosen = np.random.default_rng(seed)
        gathering.wait(WAIT_SECONDS)
        try:
            while True:
                rows = chosen.integers(0, len(table), 2000)
                if not np.array_equal(gathered(backend, rows), table[rows]):
                    wrong.append(seed)
        except BackendClosed:
            return

    threads = [threading.Thread(target=gather_until_closed, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    gathering.wait(WAIT_SECONDS)
    gathered(backend, np.arange(5000))
    backend.close()
    for thread in threads:
        thread.join(WAIT_SECONDS)

    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


# In a process of its own, which would die of a SIGBUS.
CUT_SHORT = """
    import os, sys
    import numpy as np
    from store_server.storage import DataRoot, TableDamaged

    root = DataRoot.open(sys.argv[1])
    version = root.current_version("t")
    backend = root.open_backend("t", version)
    backend.refresh_residency()
    rows = np.arange(backend.num_rows)[::50].copy()
    out = np.empty((len(rows), backend.row_bytes), np.uint8)
    if sys.argv[2] == "warm":
        assert backend.gather_from_ram(rows, out)
    os.truncate(sys.argv[3], os.path.getsize(sys.argv[3]) // 2)
    for gather in (backend.gather, backend.gather_from_ram):
        try:
            gather(rows, out)
        except TableDamaged as error:
            print(error.path, error.expected > error.found)
"""


@pytest.mark.parametrize("state", ["warm", "cold"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_short_while_it_is_served_is_an_error_and_not_the_end_of_the_process(
    root: Path, publish: Publish, kind: str, state: str
) -> None:
    version = publish(root, "t", random_rows(20_000, 264), backend=kind)
    path = DataRoot.open(root).stored_version("t", version).data_path
    if state == "cold":
        forget_pages(root, "t")

    command = [sys.executable, "-c", textwrap.dedent(CUT_SHORT), str(root), state, str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [f"{path} True"] * 2


def test_a_page_that_cannot_be_read_is_an_error_before_anything_touches_it(tmp_path: Path) -> None:
    if not can_populate():
        pytest.skip("this kernel has no MADV_POPULATE_READ (Linux 5.14)")
    path = tmp_path / "file"
    path.write_bytes(bytes(10 * mmap.PAGESIZE))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        pages = np.frombuffer(mapped, np.uint8)
        ranges = np.array([[pages.ctypes.data + page * mmap.PAGESIZE, mmap.PAGESIZE] for page in (0, 9)], np.uint64)
        advise(ranges, POPULATE_READ)
        with path.open("r+b") as writable:
            writable.truncate(5 * mmap.PAGESIZE)

        with pytest.raises(OSError, match="Bad address"):
            advise(ranges, POPULATE_READ)
        del pages


def test_rows_behind_reads_that_never_end_cannot_be_read_now(root: Path, publish: Publish) -> None:
    resident_set = ResidentSet(longest_wait_seconds=0.01)
    version = publish(root, "t", random_rows(1000, 264))
    backend = DataRoot.open(root).open_backend("t", version, resident_set=resident_set)

    with resident_set.room_for(resident_set.most_pages_under_way), pytest.raises(StorageFailure, match="not answer"):
        gathered(backend, np.arange(10))
    assert gathered(backend, np.arange(10)).shape == (10, 264)
    backend.close()
