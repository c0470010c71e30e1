"""Room for what a node is still to fetch: for blocks that are nowhere on its disk yet."""

import numpy as np
import pytest
from support.parts import make_part, manifest_of, writer_of
from support.patches import patch_table
from support.rows import random_rows
from support.tables import write_table

from engram_store.shard_map import Shard, ShardedVersion, ShardMap, VersionKey
from store_server.cluster.holdings.fetching import ShardName
from store_server.cluster.holdings.own_holdings import OwnHoldings
from store_server.cluster.holdings.still_to_come import bytes_to_come
from store_server.cluster.holdings.wanted import WantedShard
from store_server.storage import DataRoot
from store_server.storage.arrivals import begin_arrival

BLOCK_ROWS, NUM_BLOCKS, LAST_ROWS, ROW_BYTES = 8, 4, 3, 1 << 17
ROWS = random_rows((NUM_BLOCKS - 1) * BLOCK_ROWS + LAST_ROWS, ROW_BYTES)
BLOCK_BYTES = BLOCK_ROWS * ROW_BYTES


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


def to_come(root, manifest, under_way=()):
    """The bytes that are counted if a node is to hold all of a version, in two shards."""
    version = ShardedVersion(
        table="t",
        version=manifest.version,
        num_rows=manifest.num_rows,
        row_bytes=manifest.row_bytes,
        block_rows=manifest.block_rows,
        row_format=manifest.row_format,
        fingerprint=manifest.fingerprint,
        source="",
        shards=(
            Shard(end_row=2 * BLOCK_ROWS, holders=(), joining=()),
            Shard(end_row=len(ROWS), holders=(), joining=()),
        ),
    )
    shard_map = ShardMap(cluster="c", epoch=1, replicas=1, nodes=(), versions={version.key: version}, sets={})
    shards = [WantedShard(key=version.key, number=n, first=2 * n, end=2 * n + 2, sources=()) for n in (0, 1)]
    data_root = DataRoot.open(root)
    return bytes_to_come(data_root, shard_map, shards, OwnHoldings(data_root)(), under_way)


def test_blocks_of_a_shard_that_are_held_need_no_room(root, tmp_path):
    write_table(tmp_path / "origin", "t", ROWS)
    manifest = manifest_of(tmp_path / "origin", "t")
    make_part(root, "t", ROWS, manifest, [0, 3])

    assert to_come(root, manifest) == 2 * BLOCK_BYTES


def test_a_quarantined_block_needs_the_room_of_one(root):
    write_table(root, "t", ROWS)
    with writer_of(root, "t") as writer:
        writer.let_go([(3, 4)])

    assert to_come(root, manifest_of(root, "t")) == LAST_ROWS * ROW_BYTES


def test_a_patch_needs_room_for_what_it_changes_once_it_is_begun(root, tmp_path):
    write_table(tmp_path / "origin", "t", ROWS)
    write_table(root, "t", ROWS)
    patch_table(tmp_path / "origin", "t", [1], np.zeros((1, ROW_BYTES), np.uint8))
    patched = manifest_of(tmp_path / "origin", "t")
    before = to_come(root, patched)
    begin_arrival(DataRoot.open(root), "t", patched)

    assert (before, to_come(root, patched)) == (0, BLOCK_BYTES)


def test_a_shard_that_is_being_copied_has_its_room_already(root, tmp_path):
    write_table(tmp_path / "origin", "t", ROWS)
    manifest = manifest_of(tmp_path / "origin", "t")
    make_part(root, "t", ROWS, manifest, [3])

    assert to_come(root, manifest, {ShardName(VersionKey("t", manifest.version), 0)}) == BLOCK_BYTES
