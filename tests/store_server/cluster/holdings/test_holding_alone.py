"""What one node does about its data root by a map that nobody changes: no etcd, and no other nodes."""

import asyncio
import contextlib
import dataclasses
import json
import os

from support.parts import manifest_of, writer_of
from support.rows import random_rows
from support.shard_maps import shard_map_of
from support.tables import write_table

from engram_store.shard_map import Shard, ShardedVersion
from store_server.cluster.blocks.copy_sources import CopySources
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.holdings.holding import Holding
from store_server.cluster.known_map import KnownMap
from store_server.storage import DataRoot

ROWS = random_rows(100, 1 << 18)
PATIENCE_SECONDS = 30


class Told:
    """Whether others were to hear what the node holds."""

    def __init__(self):
        self._event = asyncio.Event()

    def __call__(self):
        self._event.set()

    async def again(self):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._event.wait()
        self._event.clear()


@contextlib.asynccontextmanager
async def holding_on(root, shard_map, told, **settings):
    """Keep a data root as a map says, as node `a`."""
    known = KnownMap(root)
    known.take(shard_map)
    config = ClusterConfig(url="etcd://127.0.0.1:1/prod", node_id="a", **settings)
    holding = Holding(config, DataRoot.open(root), known, changed=told, sources=CopySources())
    await holding.start()
    yield holding
    await holding.close()


NOTHING_WANTED = dataclasses.replace(shard_map_of(), versions={}, sets={})
"""A map with the node, and without tables."""


async def test_a_block_that_another_process_of_the_node_let_go_of_is_told_at_the_next_look(tmp_path):
    write_table(tmp_path, "t", ROWS)
    told = Told()
    async with holding_on(tmp_path, NOTHING_WANTED, told) as holding:
        await told.again()

        with writer_of(tmp_path, "t") as writer:
            writer.let_go([(1, 2)])
        holding.look()

        await told.again()


def version_held_here(root, source, table):
    """A version of ROWS that the node is to hold wholly."""
    manifest = manifest_of(root, table)
    return ShardedVersion(
        table=table,
        version=manifest.version,
        num_rows=manifest.num_rows,
        row_bytes=manifest.row_bytes,
        block_rows=manifest.block_rows,
        shards=(Shard(end_row=manifest.num_rows, holders=(0,)),),
        source=source,
    )


async def test_a_node_whose_disk_takes_nothing_has_others_hold_what_it_lacks(tmp_path):
    """It can let go of nothing either: what it notes of its copies cannot be written."""
    root, origin = tmp_path / "root", tmp_path / "origin"
    write_table(root, "here", ROWS)
    write_table(origin, "there", ROWS[:10])
    versions = version_held_here(root, "", "here"), version_held_here(origin, origin.as_uri(), "there")
    shard_map = dataclasses.replace(NOTHING_WANTED, versions={version.key: version for version in versions})
    (root / "cluster" / f"copies.json.{os.getpid()}").mkdir(parents=True)
    (root / "cluster" / "copies.json").write_text(json.dumps([["removed", "v1"]]))
    stated = 1 << 30

    async with holding_on(root, shard_map, Told(), capacity_bytes=stated) as holding:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while holding.limited(stated) == stated:
                holding.look()
                await asyncio.to_thread(os.sched_yield)

        assert holding.limited(stated) == ROWS.nbytes
