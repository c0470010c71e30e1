"""Rows whose pages are not in RAM come from threads; the event loop goes on meanwhile."""

import os

import numpy as np
import pytest
from support.rows import random_rows
from support.tables import write_table

import engram_client
from store_server.config import ServerConfig
from store_server.node import running
from store_server.storage import DataRoot

ROWS = random_rows(20_000, 264)


@pytest.fixture(params=["mmap", "lmdb"])
def root(request, tmp_path):
    root = tmp_path / "root"
    write_table(root, "cold", ROWS, backend=request.param)
    write_table(root, "warm", ROWS[::-1].copy(), backend=request.param)
    return root


def drop_pages(root, name):
    """Make the kernel forget the pages of a table's data, which are on disk already."""
    data_root = DataRoot.open(root)
    data = data_root.stored_version(name, data_root.current_version(name)).data_path
    descriptor = os.open(data, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    backend = data_root.open_backend(name, data_root.current_version(name))
    backend.refresh_residency()
    assert not backend.resident, "this file system keeps its pages; the test needs one on a disk"
    backend.close()


async def test_cold_and_warm_tables_answer_side_by_side_with_the_right_rows(root):
    drop_pages(root, "cold")
    # The node looks for what lies in RAM once at the start and then, in this test, never again.
    config = ServerConfig(root=root, listen="127.0.0.1:0", reload_seconds=3600)
    ids = np.random.default_rng(0).integers(0, len(ROWS), (20, 500))
    async with running(config) as node, engram_client.connect(f"grpc://{node.address}") as store:
        cold, warm = await store.table("cold"), await store.table("warm")
        pending = [(cold.prefetch(some), warm.prefetch(some)) for some in ids]

        for some, (cold_rows, warm_rows) in zip(ids, pending, strict=True):
            assert np.array_equal(await cold_rows, ROWS[some])
            assert np.array_equal(await warm_rows, ROWS[::-1][some])


async def test_cold_rows_are_read_from_files_too(root):
    drop_pages(root, "cold")

    async with engram_client.connect(f"file://{root}") as store:
        table = await store.table("cold")
        ids = np.random.default_rng(1).integers(0, len(ROWS), 5000)

        assert np.array_equal(await table.fetch(ids), ROWS[ids])
