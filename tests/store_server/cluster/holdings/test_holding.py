"""Nodes of a real cluster that fetch what the map gives them, and let go of what it does not."""

import asyncio
import contextlib
import dataclasses
import os

import numpy as np
import pytest
from support.etcd import needs_etcd, running_etcd
from support.parts import manifest_of
from support.patches import patch_table
from support.rows import random_rows
from support.tables import write_table

from engram_store.shard_map import VersionKey
from store_server.access.access_config import AccessConfig
from store_server.cluster.agreement.meeting_point import meeting_point_at
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.holdings.own_holdings import OwnHoldings
from store_server.cluster.living_cluster import living_cluster
from store_server.cluster.next_map.publishing import CannotPublish
from store_server.cluster.publication import publish
from store_server.config import ServerConfig
from store_server.node import Node, running
from store_server.storage import DataRoot, TableNotFound, root_writer, verify
from store_server.storage.block_writer import BlockWriter
from store_server.storage.held_blocks import held_blocks

pytestmark = needs_etcd
BLOCK_ROWS, ROW_BYTES, NUM_BLOCKS = 8, 1 << 17, 6
ROWS = random_rows(BLOCK_ROWS * NUM_BLOCKS, ROW_BYTES)
OTHER_ROWS = ROWS ^ 1
PATIENCE_SECONDS = 60


class Cluster:
    """Nodes `a`, `b`, ... on data roots below a directory, and what writes their map."""

    def __init__(self, directory, endpoint, stack):
        self._directory, self._stack = directory, stack
        self._url = f"etcd://{endpoint}/prod"
        self.nodes: dict[str, contextlib.AsyncExitStack] = {}
        self._meeting = meeting_point_at(ClusterConfig(url=self._url, node_id="test"))
        stack.push_async_callback(self._meeting.close)

    def root(self, node_id):
        return DataRoot(self._directory / node_id)

    async def start(self, *node_ids, **settings) -> list[Node]:
        return [await self._start(node_id, settings) for node_id in node_ids]

    async def _start(self, node_id, settings):
        (self.root(node_id).path / "tables").mkdir(parents=True, exist_ok=True)
        defaults = {"lease_seconds": 1, "lost_after_seconds": 2, "all_lost_after_seconds": 3, "replicas": 2}
        config = ServerConfig(
            root=self.root(node_id).path,
            listen="127.0.0.1:0",
            drain_seconds=1,
            access=AccessConfig(allowed_sources=("file:///",)),
            cluster=ClusterConfig(url=self._url, node_id=node_id, **defaults | settings),
        )
        self.nodes[node_id] = await self._stack.enter_async_context(contextlib.AsyncExitStack())
        return await self.nodes[node_id].enter_async_context(running(config))

    async def stop(self, node_id):
        await self.nodes.pop(node_id).aclose()

    async def map_when(self, is_right):
        """The first map from now on that is right."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            async with contextlib.aclosing(self._meeting.source.follow()) as maps:
                async for found in maps:
                    if found is not None and is_right(found):
                        return found

    async def change(self, change):
        """Store what `change` makes of the map."""
        while True:
            found = await self.map_when(lambda _: True)
            following = dataclasses.replace(change(found), epoch=found.epoch + 1)
            if await self._meeting.source.compare_and_swap(found.epoch, following):
                return following

    async def publish(self, origin):
        """Make the current version of `rows` in the data root `origin` that of its set.

        Leases of a second end on a machine that stands still for one, and their nodes come back.
        """
        manifest = manifest_of(origin, "rows")
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            living_cluster(ClusterConfig(url=self._url, node_id="test")) as living,
        ):
            while True:
                try:
                    await publish(
                        living,
                        "model",
                        {"rows": manifest},
                        source=origin.as_uri(),
                        replicas=None,
                        allow_change=False,
                        timeout=PATIENCE_SECONDS,
                    )
                    return VersionKey("rows", manifest.version)
                except CannotPublish as error:
                    if "are alive" not in str(error):
                        raise
                    await asyncio.sleep(0.1)

    async def until(self, is_so):
        """Wait until a function of no arguments returns what is true."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await asyncio.to_thread(is_so):
                await asyncio.sleep(0.02)

    def held(self, node_id, key) -> list[int]:
        """The blocks that a node has on its disk."""
        try:
            stored = self.root(node_id).stored_version(*key)
        except TableNotFound:
            return []
        return np.flatnonzero(held_blocks(stored)).tolist()


def is_current(key):
    return lambda found: bool(found.sets) and found.sets["model"].current.get(key.table) == key.version


def is_settled(key):
    """Tell whether a version has all its holders and nobody joins."""
    return lambda found: (
        is_current(key)(found)
        and all(len(shard.holders) == 2 and not shard.joining for shard in found.versions[key].shards)
    )


def given_to(found, key, node_id):
    """The blocks that a map says a node holds."""
    place = [node.id for node in found.nodes].index(node_id)
    first, blocks = 0, []
    for shard in found.versions[key].shards:
        end = -(-shard.end_row // BLOCK_ROWS)
        blocks += range(first, end) if place in shard.holders else []
        first = end
    return blocks


def disk_bytes(root):
    """What the files of a data root take, each counted once, whatever names it has."""
    found = {status.st_ino: status.st_blocks * 512 for status in map(os.stat, root.path.rglob("*.bin"))}
    return sum(found.values())


@pytest.fixture
async def cluster(tmp_path):
    with running_etcd(tmp_path / "etcd") as etcd:
        async with contextlib.AsyncExitStack() as stack:
            yield Cluster(tmp_path, etcd.endpoint, stack)


@pytest.fixture
def origin(tmp_path):
    root = tmp_path / "origin"
    write_table(root, "rows", ROWS)
    assert manifest_of(root, "rows").num_blocks == NUM_BLOCKS
    return root


async def test_nodes_fetch_their_shards_of_a_pending_version_which_becomes_current(cluster, origin):
    await cluster.start("a", "b", "c")
    await cluster.map_when(lambda found: len(found.nodes) == 3)

    key = await cluster.publish(origin)

    found = await cluster.map_when(is_settled(key))
    blocks = [block for node_id in "abc" for block in given_to(found, key, node_id)]
    assert sorted(blocks) == sorted([*range(NUM_BLOCKS), *range(NUM_BLOCKS)])
    for node_id in "abc":
        assert set(given_to(found, key, node_id)) <= set(cluster.held(node_id, key))
        list(verify(cluster.root(node_id), *key))


async def test_a_version_that_shares_blocks_with_the_current_one_costs_what_changed(cluster, origin):
    await cluster.start("a", "b", "c")
    base = await cluster.publish(origin)
    found = await cluster.map_when(is_settled(base))
    places = {node_id: given_to(found, base, node_id) for node_id in "abc"}
    taken = {node_id: disk_bytes(cluster.root(node_id)) for node_id in "abc"}

    patch_table(origin, "rows", [BLOCK_ROWS * 2], OTHER_ROWS[:1])
    key = await cluster.publish(origin)

    found = await cluster.map_when(is_settled(key))
    assert {node_id: given_to(found, key, node_id) for node_id in "abc"} == places
    for node_id in "abc":
        more = disk_bytes(cluster.root(node_id)) - taken[node_id]
        assert (more > BLOCK_ROWS * ROW_BYTES / 2) == (2 in places[node_id])
        assert more < BLOCK_ROWS * ROW_BYTES * 1.5
        list(verify(cluster.root(node_id), *key))


async def test_a_node_that_is_gone_for_good_is_replaced_by_the_others_without_the_source(cluster, origin):
    await cluster.start("a", "b", "c")
    key = await cluster.publish(origin)
    await cluster.map_when(is_settled(key))
    with root_writer(origin) as writer:
        writer.drop_table("rows")

    await cluster.stop("c")

    found = await cluster.map_when(lambda found: len(found.nodes) == 2 and is_settled(key)(found))
    for node_id in "ab":
        assert given_to(found, key, node_id) == list(range(NUM_BLOCKS))
        list(verify(cluster.root(node_id), *key))


async def test_a_version_that_no_set_names_is_removed_and_one_that_was_imported_stays(cluster, origin):
    imported = VersionKey("mine", write_table(cluster.root("a").path, "mine", ROWS[:BLOCK_ROWS]))
    await cluster.start("a", "b", keep_seconds=0)
    first = await cluster.publish(origin)
    await cluster.map_when(is_settled(first))
    write_table(origin, "rows", OTHER_ROWS)
    second = await cluster.publish(origin)
    await cluster.map_when(is_settled(second))

    await cluster.change(
        lambda found: dataclasses.replace(
            found,
            sets={"model": dataclasses.replace(found.sets["model"], previous={})},
            versions={second: found.versions[second]},
        )
    )

    for node_id in "ab":
        await cluster.until(lambda node_id=node_id: cluster.held(node_id, first) == [])
        assert cluster.held(node_id, second) == list(range(NUM_BLOCKS))
    assert cluster.held("a", imported) == [0]


async def test_a_bad_block_is_found_by_the_scrub_and_comes_back_from_the_other_holder(cluster, origin):
    await cluster.start("a", "b", scrub_bytes_per_second=1 << 30)
    key = await cluster.publish(origin)
    await cluster.map_when(is_settled(key))
    with root_writer(origin) as writer:
        writer.drop_table("rows")
    stored = cluster.root("a").stored_version(*key)
    held_before = (stored.directory / "held.json").stat().st_mtime_ns

    with stored.data_path.open("r+b") as file:
        file.seek(3 * BLOCK_ROWS * ROW_BYTES)
        file.write(bytes(byte ^ 1 for byte in ROWS[3 * BLOCK_ROWS, :1]))

    # It goes and comes back: two changes of what is held.
    await cluster.until(lambda: (stored.directory / "held.json").stat().st_mtime_ns != held_before)
    await cluster.until(lambda: cluster.held("a", key) == list(range(NUM_BLOCKS)))
    list(verify(cluster.root("a"), *key))


async def test_a_block_that_somebody_quarantined_is_fetched_again(cluster, origin):
    await cluster.start("a", "b")
    key = await cluster.publish(origin)
    await cluster.map_when(is_settled(key))

    with BlockWriter(cluster.root("a").stored_version(*key)) as writer:
        writer.let_go([(2, 3)])

    await cluster.until(lambda: cluster.held("a", key) == list(range(NUM_BLOCKS)))


@pytest.mark.parametrize("damaged", ["versions/*/table.json", "CURRENT"])
async def test_a_node_whose_only_table_is_damaged_starts_and_gets_it_back_from_the_others(cluster, origin, damaged):
    await cluster.start("a", "b")
    key = await cluster.publish(origin)
    await cluster.map_when(is_settled(key))
    await cluster.stop("a")
    path = next(cluster.root("a").table_path("rows").glob(damaged))
    content = bytearray(path.read_bytes())
    content[20] ^= 1 << 7
    path.write_bytes(content)

    await cluster.start("a")

    await cluster.until(lambda: OwnHoldings(cluster.root("a"))().blocks.get(key) == ((0, NUM_BLOCKS),))
    list(verify(cluster.root("a"), *key))


async def test_a_node_with_less_room_on_its_disk_than_stated_says_how_much_it_has(cluster):
    stated = 1 << 60
    await cluster.start("a", replicas=1, capacity_bytes=stated)

    found = await cluster.map_when(lambda found: len(found.nodes) == 1)

    assert 0 < found.nodes[0].capacity_bytes < stated


async def test_a_node_that_joins_gets_its_share_from_the_others(cluster, origin):
    await cluster.start("a", "b", keep_seconds=0)
    key = await cluster.publish(origin)
    await cluster.map_when(is_settled(key))
    with root_writer(origin) as writer:
        writer.drop_table("rows")

    await cluster.start("c")

    found = await cluster.map_when(
        lambda found: len(found.nodes) == 3 and bool(given_to(found, key, "c")) and is_settled(key)(found)
    )
    for node_id in "abc":
        given = given_to(found, key, node_id)
        await cluster.until(lambda node_id=node_id, given=given: cluster.held(node_id, key) == given)
        list(verify(cluster.root(node_id), *key))
