"""A node whose data root is lost, and which is rebuilt from a backup that was made while it served and changed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.backups import back_up, verified
from support.etcd import needs_etcd
from support.processes import node_process
from support.published_cluster import published_cluster
from support.real_cluster import RealCluster, real_cluster
from support.rows import random_rows
from support.set_of_versions import SECONDS, number_read, opened, write_versions
from support.steady_load import SteadyLoad
from support.tables import write_table

import engram_client
from store_server.commands import main
from store_server.storage import DataRoot, StorageError, root_writer
from store_server.storage.held_blocks import held_blocks

BLOCK_ROWS = 4_095
STEADY = random_rows(4 * BLOCK_ROWS + 5, 264)
ALL = np.arange(len(STEADY))
_LOOK_SECONDS = 0.01


def swapped_rows(number: int) -> np.ndarray:
    return random_rows(3 * BLOCK_ROWS, 264, seed=number)


async def test_a_node_rebuilt_from_a_backup_made_under_load_serves_the_rows_that_the_root_had(tmp_path: Path) -> None:
    root, to = tmp_path / "root", tmp_path / "backup"
    write_table(root, "steady", STEADY)
    number_of = {write_table(root, "a-swapped", swapped_rows(0)): 0}

    def swap_and_drop(_table: str) -> None:
        number = len(number_of)
        before = DataRoot.open(root).current_version("a-swapped")
        number_of[write_table(root, "a-swapped", swapped_rows(number))] = number
        with root_writer(root) as writer:
            writer.drop("a-swapped", before)

    with node_process(root) as node:
        async with engram_client.connect(node.url) as store, SteadyLoad(await store.table("steady"), STEADY) as load:
            await load.go_on(1)
            await asyncio.to_thread(back_up, root, to, between=swap_and_drop)
            await load.go_on(1)
        node.process.kill()
        node.wait()
    shutil.rmtree(root)

    with node_process(to) as restored:
        async with engram_client.connect(restored.url) as store:
            steady, swapped = await store.table("steady"), await store.table("a-swapped")

            assert load.wrong == []
            assert len(number_of) > 3
            assert np.array_equal(await steady.fetch(ALL), STEADY)
            assert np.array_equal(
                await swapped.fetch(np.arange(3 * BLOCK_ROWS)), swapped_rows(number_of[swapped.version])
            )
        assert restored.stop() == 0
    assert verified(to).keys() == {"a-swapped", "steady"}


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await asyncio.to_thread(is_so):
            await asyncio.sleep(_LOOK_SECONDS)


def has_whole(root: Path, table: str, version: str = "") -> bool:
    with contextlib.suppress(StorageError):
        data_root = DataRoot.open(root)
        return bool(held_blocks(data_root.stored_version(table, version or data_root.current_version(table))).all())
    return False


async def test_a_node_of_a_cluster_with_a_map_in_a_file_fetches_what_its_backup_lacks(tmp_path: Path) -> None:
    tables = {"old": STEADY, "new": swapped_rows(1)}
    with real_cluster(tmp_path, 2, tables, replicas=2, options=("--allow-source=grpc://",)) as cluster:
        await lose_and_restore(cluster, tmp_path / "backup")
        async with engram_client.connect(cluster.url) as store:
            async with SteadyLoad(await store.table("old"), STEADY) as load:
                await load.go_on(1)
                cluster.start(0)
                await until(lambda: has_whole(cluster.root(0), "new"))
                await load.go_on(1)
            cluster.kill(1)

            assert load.wrong == []
            for name, rows in tables.items():
                table = await store.table(name)
                assert np.array_equal(await table.fetch(np.arange(len(rows))), rows)


async def lose_and_restore(cluster: RealCluster, to: Path) -> None:
    """Replace the root of node 0 by a backup from before the table `new` came."""
    back_up(cluster.root(0), to)
    with root_writer(to) as writer:
        writer.drop_table("new")
    cluster.kill(0)
    shutil.rmtree(cluster.root(0))
    shutil.move(to, cluster.root(0))


@needs_etcd
@pytest.mark.timeout(300)
def test_a_node_of_a_cluster_with_etcd_fetches_what_its_backup_lacks_and_serves_all_of_it(tmp_path: Path) -> None:
    source, to = tmp_path / "source", tmp_path / "backup"

    def publish(number: int) -> dict[str, str]:
        versions = write_versions(source, "a", number)
        assert main(["publish", str(source), *versions, "--cluster", cluster.url, "--set", "a", "--replicas", "2"]) == 0
        return versions

    with published_cluster(tmp_path / "cluster", 2) as cluster, contextlib.ExitStack() as stack:
        publish(1)
        back_up(cluster.root(0), to)
        versions = publish(2)
        address = cluster.nodes[0].address
        cluster.nodes[0].process.kill()
        cluster.nodes[0].wait()
        shutil.rmtree(cluster.root(0))
        shutil.move(to, cluster.root(0))

        cluster.nodes[0] = stack.enter_context(cluster.node(0, listen=address))
        cluster.until(lambda: all(has_whole(cluster.root(0), table, version) for table, version in versions.items()))
        assert main(["forget", "--cluster", cluster.url, "--set", "a"]) == 0
        # What the node had fetched itself it also takes away again: nothing of the backup stays for ever.
        cluster.until(lambda: DataRoot.open(cluster.root(0)).readable_versions("a/1") == [versions["a/1"]])
        cluster.nodes[1].process.kill()
        cluster.nodes[1].wait()

        assert asyncio.run(number_served(cluster.nodes[0].url)) == 2


async def number_served(url: str) -> int:
    """Read all rows of the set at a node; returns which version they are of."""
    async with engram_client.connect(url, timeout=SECONDS) as store:
        return await number_read(await opened(store, "a"))
