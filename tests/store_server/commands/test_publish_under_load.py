"""A set of two tables is published again and again while clients read it: no failure, no two versions together."""

import asyncio
import contextlib
import os
from pathlib import Path

import numpy as np
import pytest
from support.etcd import needs_etcd
from support.set_of_versions import opened
from support.tables import write_table

import engram_client

pytestmark = needs_etcd
ROW_BYTES, NUM_ROWS, NUM_READERS = 1 << 18, 12, 2  # four rows a block
TABLES = ("m/1", "m/2")
BYTES_OF_ALL_COPIES = 2 * len(TABLES) * NUM_ROWS * ROW_BYTES
SECONDS = 60
_PAUSE_SECONDS = 0.005  # of readers, for the sake of the nodes that share the processor with them


def write_versions(root, number):
    """Make the next version of both tables, whose rows say which it is; returns versions by table."""
    rows = np.full((NUM_ROWS, ROW_BYTES), number, np.uint8)
    rows[:, 0] = np.arange(NUM_ROWS)
    return {name: write_table(root, name, rows) for name in TABLES}


class Reader:
    """Reads both tables of the set again and again, refreshing before each time; any failure ends it."""

    def __init__(self, url, seed):
        self._url, self._random = url, np.random.default_rng(seed)
        self.seen: list[int] = []
        self.newest = asyncio.Condition()

    async def run(self):
        async with engram_client.connect(self._url, timeout=SECONDS) as store:
            tables = await opened(store, "model")
            while True:
                await tables.refresh()
                ids = self._random.integers(0, NUM_ROWS, 8)
                fetched = await asyncio.gather(*(tables[name].fetch(ids) for name in TABLES))
                numbers = {int(number) for rows in fetched for number in np.unique(rows[:, 1:])}
                assert len(numbers) == 1, f"two versions together: {numbers}"
                assert all(np.array_equal(rows[:, 0], ids) for rows in fetched)
                async with self.newest:
                    self.seen.append(numbers.pop())
                    self.newest.notify_all()
                await asyncio.sleep(_PAUSE_SECONDS)

    async def has_seen(self, number):
        """Wait until rows of a version were read."""
        async with self.newest:
            await self.newest.wait_for(lambda: number in self.seen)


@pytest.mark.parametrize(
    "num_switches", [pytest.param(2, id="short"), pytest.param(50, id="long", marks=pytest.mark.long)]
)
@pytest.mark.timeout(1200)
async def test_readers_never_fail_and_never_see_two_versions(published, run, root, num_switches):
    def publish(number):
        versions = write_versions(root, number)
        done = run("publish", root, *TABLES, "--cluster", published.url, "--set", "model", "--timeout", SECONDS)
        assert done.status == 0, done.err
        return versions

    before = await asyncio.to_thread(lambda: sum(published.bytes_used.values()))
    versions = [await asyncio.to_thread(publish, 0)]
    readers = [Reader(published.grpc_url, seed) for seed in range(NUM_READERS)]
    tasks = [asyncio.create_task(reader.run()) for reader in readers]
    try:
        for number in range(1, num_switches + 1):
            versions.append(await asyncio.to_thread(publish, number))
            for reader, task in zip(readers, tasks, strict=True):
                seen = asyncio.create_task(reader.has_seen(number))
                async with asyncio.timeout(SECONDS):
                    await asyncio.wait({seen, task}, return_when=asyncio.FIRST_COMPLETED)
                if task.done():
                    await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    for reader in readers:
        assert reader.seen == sorted(reader.seen)
    if num_switches > 2:
        await asyncio.to_thread(check_that_one_version_is_left, published, run, before, versions)


def check_that_one_version_is_left(published, run, bytes_before, versions):
    """Forget the previous version, and wait until the current one is all that there is of the set anywhere."""
    assert run("forget", "--cluster", published.url, "--set", "model").status == 0
    published.until(lambda: sum(published.bytes_used.values()) - bytes_before == BYTES_OF_ALL_COPIES)
    published.until(lambda: not any(published.blocks_held(each) for each in versions[:-1]))
    published.until(lambda: sum(disk_bytes(published.root(number)) for number in range(3)) <= 1.1 * BYTES_OF_ALL_COPIES)
    old = {version for each in versions[:-1] for version in each.values()}
    published.until(lambda: not any(version in mapped_files(node) for node in published.nodes for version in old))


def disk_bytes(root):
    """Bytes that the tables of the set, and what is on its way to them, take on the disk of a node just now."""
    num_bytes = 0
    for directory, _, names in os.walk(root):
        if "/m@" in directory or "/incoming" in directory:
            for name in names:
                with contextlib.suppress(FileNotFoundError):  # removed while we looked
                    num_bytes += Path(directory, name).stat().st_blocks * 512
    return num_bytes


def mapped_files(node):
    """What the process of a node has mapped: nothing else of a file can be resident on its account."""
    with open(f"/proc/{node.process.pid}/maps") as maps:
        return maps.read()
