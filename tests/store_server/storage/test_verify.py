from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from store_server.storage import BlockDamaged, DataRoot, TableDamaged, verify

TABLE = np.random.default_rng(0).integers(0, 256, (9_000, 264), dtype=np.uint8)
BACKENDS = ("mmap", "lmdb")
Publish = Callable[..., str]
pytestmark = pytest.mark.parametrize("backend", BACKENDS)


def flip_a_bit_of(row: int, path: Path) -> int:
    """Flip one bit in the middle of a row; returns the byte's place in the file."""
    content = bytearray(path.read_bytes())
    place = content.index(TABLE[row].tobytes()) + 100
    content[place] ^= 0x10
    path.write_bytes(content)
    return place


def test_an_intact_version_is_read_to_the_end(root: Path, publish: Publish, backend: str) -> None:
    version = publish(root, "t", TABLE, backend=backend)

    progress = list(verify(DataRoot.open(root), "t", version))

    assert [step.blocks_done for step in progress] == [1, 2, 3]
    assert progress[-1].bytes_done == progress[-1].num_bytes == TABLE.size


@pytest.mark.parametrize(("row", "block", "first_row", "last_row"), [(0, 0, 0, 4094), (8_999, 2, 8190, 8999)])
def test_a_flipped_bit_is_found_and_its_block_named(
    root: Path, publish: Publish, backend: str, row: int, block: int, first_row: int, last_row: int
) -> None:
    version = publish(root, "t", TABLE, backend=backend)
    path = next(root.glob("tables/t/versions/*/rows.*"))
    place = flip_a_bit_of(row, path)

    with pytest.raises(BlockDamaged) as caught:
        list(verify(DataRoot.open(root), "t", version))

    found = caught.value
    assert (found.block, found.first_row, found.last_row, found.path) == (block, first_row, last_row, path)
    assert found.byte_offset == place - 100 - (row - first_row) * 264


def test_a_flipped_bit_between_the_blocks_never_ends_the_process(root: Path, publish: Publish, backend: str) -> None:
    """LMDB keeps a B-tree there, whose pages it trusts; in a flat file all is rows."""
    version = publish(root, "t", TABLE, backend=backend)
    path = next(root.glob("tables/t/versions/*/rows.*"))
    intact = path.read_bytes()
    outcomes = set()

    # Up to the first block there are LMDB's roots and the B-tree; most bytes are unused zeros.
    places = [place for place in range(intact.index(TABLE[0].tobytes()) or 4096) if intact[place]]
    for place in places[:: len(places) // 80 + 1]:
        damaged = bytearray(intact)
        damaged[place] ^= 0x80
        path.write_bytes(damaged)
        try:
            list(verify(DataRoot.open(root), "t", version))
            outcomes.add("intact")
        except TableDamaged:
            outcomes.add("damaged")

    assert "damaged" in outcomes


def test_a_damaged_block_is_not_loaded_into_memory(root: Path, publish: Publish, backend: str) -> None:
    version = publish(root, "t", TABLE, backend=backend)
    flip_a_bit_of(5_000, next(root.glob("tables/t/versions/*/rows.*")))

    with pytest.raises(BlockDamaged, match="block 1 "):
        DataRoot.open(root).open_backend("t", version, in_memory=True)


def test_a_file_of_another_size_is_found(root: Path, publish: Publish, backend: str) -> None:
    version = publish(root, "t", TABLE, backend=backend)
    path = next(root.glob("tables/t/versions/*/rows.*"))
    size = path.stat().st_size
    os.truncate(path, size + 1)

    with pytest.raises(TableDamaged) as caught:
        list(verify(DataRoot.open(root), "t", version))

    assert (caught.value.expected, caught.value.found) == (size, size + 1)
