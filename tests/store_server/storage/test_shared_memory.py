"""Rows in RAM that several processes share: loaded once, whole or not at all, and read-only for all."""

import mmap
import os
import threading

import numpy as np
import pytest
from support.rows import random_rows
from support.tables import write_table

from store_server.storage import BlockDamaged, DataRoot, LoadingStopped, NotEnoughMemory
from store_server.storage.memory_backend import MemoryBackend
from store_server.storage.shared_memory import SharedMemory

ROWS = random_rows(20_000, 264)


class Keeper:
    """One file for everybody, and a count of those who hold it."""

    def __init__(self, error=None):
        self.kept = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.holders = 0
        self.error = error

    def file(self, _table, _version):
        if self.error is not None:
            raise self.error
        self.holders += 1
        return os.dup(self.kept)

    def let_go(self, _table, _version):
        self.holders -= 1


class Files:
    """Reads blocks of ROWS; `before_block` is called before each."""

    def __init__(self, stored, before_block=lambda _: None):
        self.block_rows = stored.manifest.block_rows
        self.before_block = before_block
        self.read = 0

    def read_checked_into(self, block, rows):
        self.before_block(block)
        self.read += 1
        rows[...] = ROWS[block * self.block_rows :][: len(rows)]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    root = tmp_path_factory.mktemp("shared") / "root"
    version = write_table(root, "t", ROWS)
    return DataRoot.open(root).stored_version("t", version)


@pytest.fixture
def keeper():
    keeper = Keeper()
    yield keeper
    os.close(keeper.kept)


def gathered(backend):
    out = np.empty_like(ROWS)
    backend.gather(np.arange(len(ROWS)), out)
    return out


def test_the_second_to_ask_maps_what_the_first_has_loaded(stored, keeper):
    first_files, second_files = Files(stored), Files(stored)

    first = MemoryBackend(stored, first_files, memory=SharedMemory(keeper))
    second = MemoryBackend(stored, second_files, memory=SharedMemory(keeper))

    assert (first_files.read, second_files.read) == (stored.manifest.num_blocks, 0)
    assert np.array_equal(gathered(second), ROWS)
    for backend in (first, second):
        assert keeper.holders > 0
        backend.close()
        backend.close()
    assert keeper.holders == 0


def test_nobody_can_write_into_what_is_shared(stored, keeper):
    backend = MemoryBackend(stored, Files(stored), memory=SharedMemory(keeper))

    with pytest.raises(ValueError, match="read-only"):
        next(backend.blocks())[...] = 0
    with pytest.raises(PermissionError):
        os.pwrite(keeper.kept, b"x", 0)
    with pytest.raises(PermissionError):
        mmap.mmap(keeper.kept, 4096)
    with pytest.raises(PermissionError):
        os.ftruncate(keeper.kept, 0)


def test_what_was_half_loaded_by_one_that_failed_is_loaded_anew_by_the_next(stored, keeper):
    def fail(block):
        if block == 1:
            raise BlockDamaged(
                "t", "v", stored.data_path, block=1, first_row=0, last_row=1, byte_offset=0, expected="", found=""
            )

    assert stored.manifest.num_blocks > 1
    with pytest.raises(BlockDamaged):
        MemoryBackend(stored, Files(stored, fail), memory=SharedMemory(keeper))
    assert keeper.holders == 0

    assert np.array_equal(gathered(MemoryBackend(stored, Files(stored), memory=SharedMemory(keeper))), ROWS)


def test_who_comes_while_another_loads_waits_for_it(stored, keeper):
    loading, may_go_on, second_files = threading.Event(), threading.Event(), Files(stored)

    class Waited(threading.Event):
        def wait(self, timeout=None):
            may_go_on.set()
            return super().wait(timeout)

    def wait(_block):
        loading.set()
        assert may_go_on.wait(60)

    first = threading.Thread(target=lambda: MemoryBackend(stored, Files(stored, wait), memory=SharedMemory(keeper)))
    first.start()
    try:
        assert loading.wait(60)
        second = MemoryBackend(stored, second_files, memory=SharedMemory(keeper), stop=Waited())
    finally:
        may_go_on.set()
        first.join(60)

    assert second_files.read == 0
    assert np.array_equal(gathered(second), ROWS)


def test_who_waits_for_another_gives_up_when_told_to_stop(stored, keeper):
    loading, may_go_on, stop = threading.Event(), threading.Event(), threading.Event()

    def wait(_block):
        loading.set()
        assert may_go_on.wait(60)

    first = threading.Thread(target=lambda: MemoryBackend(stored, Files(stored, wait), memory=SharedMemory(keeper)))
    first.start()
    assert loading.wait(60)
    stop.set()

    try:
        with pytest.raises(LoadingStopped):
            MemoryBackend(stored, Files(stored), memory=SharedMemory(keeper), stop=stop)
    finally:
        may_go_on.set()
        first.join(60)


def test_a_keeper_without_memory_is_an_error_that_says_so(stored):
    keeper = Keeper(error=OSError("no more files"))

    with pytest.raises(NotEnoughMemory, match="'t' needs 5,280,000 bytes of memory: no memory to share: no more files"):
        MemoryBackend(stored, Files(stored), memory=SharedMemory(keeper))
    assert keeper.holders == 0
    os.close(keeper.kept)


def test_huge_pages_are_asked_for_and_their_absence_is_no_failure(stored, keeper):
    backend = MemoryBackend(stored, Files(stored), memory=SharedMemory(keeper), huge_pages=True)

    assert np.array_equal(gathered(backend), ROWS)


def test_all_who_share_rows_say_the_same_of_huge_pages(stored, keeper, tmp_path):
    for setting, expected in (("always [advise] never", True), ("always advise [never]", False)):
        (tmp_path / "setting").write_text(setting)

        memory = SharedMemory(keeper, tmp_path / "setting")
        backends = [MemoryBackend(stored, Files(stored), memory=memory, huge_pages=True) for _ in range(2)]

        assert [backend.huge_pages_wished for backend in backends] == [expected] * 2
        for backend in backends:
            backend.close()
