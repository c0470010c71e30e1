"""Disk space of blocks to come is taken before the first of them is fetched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.parts import block_bytes, make_part, manifest_of, writer_of
from support.rows import random_rows
from support.tables import write_table

from store_server.storage import DataRoot, DiskFull, Manifest, verify

BLOCK_ROWS, BLOCK_BYTES = 4_095, 4_095 * 264
ROWS = random_rows(5 * BLOCK_ROWS, 264)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    write_table(tmp_path / "whole", "t", ROWS)
    return manifest_of(tmp_path / "whole", "t")


def test_a_full_disk_is_found_before_a_block_is_written_and_what_is_held_stays(
    mount_tmpfs: Callable, manifest: Manifest
) -> None:
    with mount_tmpfs("size=4m") as place:
        make_part(place, "t", ROWS, manifest, [0, 1])
        free = (4 << 20) - 2 * BLOCK_BYTES

        with writer_of(place, "t") as writer, pytest.raises(DiskFull) as caught:
            writer.reserve([(0, 5)])

        assert 0 <= 3 * BLOCK_BYTES - caught.value.bytes_needed < 4096  # a page that a block shares is there
        assert 0.9 * free < caught.value.bytes_free < free
        assert [step.blocks_done for step in verify(DataRoot.open(place), "t", manifest.version)] == [1, 2]


def test_what_was_reserved_is_not_needed_a_second_time(mount_tmpfs: Callable, manifest: Manifest) -> None:
    """As when a copy goes on that was interrupted."""
    with mount_tmpfs("size=4m") as place:
        make_part(place, "t", ROWS, manifest, [1])
        for _ in range(3):
            with writer_of(place, "t") as writer:
                writer.reserve([(0, 3)])
        with writer_of(place, "t") as writer:
            writer.store({block: block_bytes(ROWS, BLOCK_ROWS, block) for block in (0, 2)})

        assert [step.blocks_done for step in verify(DataRoot.open(place), "t", manifest.version)] == [1, 2, 3]


def test_what_is_reserved_takes_disk_space_and_what_is_given_back_does_not(root: Path, manifest: Manifest) -> None:
    make_part(root, "t", ROWS, manifest, [0])
    data = next(root.glob("tables/t/versions/*/rows.bin"))
    sizes = [data.stat().st_blocks * 512]

    with writer_of(root, "t") as writer:
        writer.reserve([(1, 5)])
        sizes.append(data.stat().st_blocks * 512)
        writer.give_back([(0, 5)])
        sizes.append(data.stat().st_blocks * 512)

    assert sizes[0] < 1.1 * BLOCK_BYTES
    assert sizes[1] >= 5 * BLOCK_BYTES
    assert sizes[2] < 1.1 * BLOCK_BYTES
    assert data.stat().st_size == ROWS.size
