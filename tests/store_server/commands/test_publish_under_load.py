"""A set of two tables is published again and again while clients read it: no failure, no two versions together."""

import asyncio
import contextlib

import numpy as np
import pytest
from support.etcd import needs_etcd
from support.published_cluster import published_cluster
from support.tables import write_table

import engram_client
from store_server.storage import DataRoot, StorageError
from store_server.storage.held_blocks import held_blocks

pytestmark = needs_etcd
ROW_BYTES, NUM_ROWS, NUM_READERS = 1 << 18, 12, 2  # four rows a block
TABLES = ("m/1", "m/2")
SECONDS = 60


def write_versions(root, number):
    """Make the next version of both tables, whose rows say which it is; returns versions by table."""
    rows = np.full((NUM_ROWS, ROW_BYTES), number, np.uint8)
    rows[:, 0] = np.arange(NUM_ROWS)
    return {name: write_table(root, name, rows) for name in TABLES}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with published_cluster(tmp_path_factory.mktemp("cluster"), 3) as cluster:
        yield cluster


class Reader:
    """Reads both tables of the set over and over, refreshing before each time; any failure ends it."""

    def __init__(self, url, seed):
        self._url, self._random = url, np.random.default_rng(seed)
        self.seen: list[int] = []
        self.newest = asyncio.Condition()

    async def run(self):
        async with engram_client.connect(self._url, timeout=SECONDS) as store:
            tables = await store.table_set("model")
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

    async def has_seen(self, number):
        """Wait until rows of a version were read."""
        async with self.newest:
            await self.newest.wait_for(lambda: number in self.seen)


@pytest.mark.parametrize(
    "num_switches", [pytest.param(5, id="short"), pytest.param(50, id="long", marks=pytest.mark.long)]
)
async def test_readers_never_fail_and_never_see_two_versions(cluster, run, root, num_switches):
    def publish(number):
        versions = write_versions(root, number)
        done = run("publish", root, *TABLES, "--cluster", cluster.url, "--set", "model", "--timeout", SECONDS)
        assert done.status == 0, done.err
        return versions

    published = [await asyncio.to_thread(publish, 0)]
    readers = [
        Reader("grpc://" + ",".join(node.address for node in cluster.nodes), seed) for seed in range(NUM_READERS)
    ]
    tasks = [asyncio.create_task(reader.run()) for reader in readers]
    try:
        for number in range(1, num_switches + 1):
            published.append(await asyncio.to_thread(publish, number))
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
    async with asyncio.timeout(SECONDS):
        while await asyncio.to_thread(held_copies, cluster, published[:-2]):
            await asyncio.sleep(0.05)
    assert await asyncio.to_thread(held_copies, cluster, published[-2:]) == 2 * 2 * 2 * NUM_ROWS // 4


def held_copies(cluster, published):
    """How many blocks of versions nodes hold."""
    num_blocks = 0
    for number in range(len(cluster.nodes)):
        root = DataRoot.open(cluster.root(number))
        for item in (item for versions in published for item in versions.items()):
            with contextlib.suppress(StorageError):
                num_blocks += int(held_blocks(root.stored_version(*item)).sum())
    return num_blocks
