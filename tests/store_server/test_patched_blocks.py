"""Blocks of a patched version as other nodes get them: those that it changed, and those that it shares."""

from __future__ import annotations

import asyncio
from pathlib import Path

from support.block_node import block_node
from support.http_root import http_root
from support.parts import block_bytes, manifest_of
from support.patches import patch_table, with_rows
from support.rows import random_rows
from support.tables import write_table

from store_server.cluster.blocks.block_source import block_source
from store_server.storage import Manifest

BLOCK_ROWS = 4_095
TABLE = random_rows(3 * BLOCK_ROWS + 100, 264)
NEW = random_rows(2, 264, seed=1)


def blocks_of(url: str, manifest: Manifest) -> dict[int, bytes]:
    source = block_source(url)
    assert Manifest.from_json(source.manifest("t", manifest.version)) == manifest
    blocks = dict(source.blocks("t", manifest, 0, manifest.num_blocks))
    source.close()
    return blocks


async def test_a_patched_version_hands_out_all_its_blocks_in_every_way(tmp_path: Path) -> None:
    root, ids = tmp_path / "root", [3 * BLOCK_ROWS + 99, 7]
    write_table(root, "t", TABLE)
    patch_table(root, "t", ids, NEW)
    manifest = manifest_of(root, "t")
    expected = {block: block_bytes(with_rows(TABLE, ids, NEW), BLOCK_ROWS, block) for block in range(4)}

    async with block_node(root) as address:
        assert await asyncio.to_thread(blocks_of, f"grpc://{address}", manifest) == expected
    with http_root(root) as url:
        assert blocks_of(url, manifest) == expected
    assert blocks_of(root.as_uri(), manifest) == expected
    assert manifest.changed.are_changed(4).tolist() == [True, False, False, True]
