"""A version of which some blocks are held: what is answered, what is refused, and how blocks come and go."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.environment import with_tests
from support.parts import block_bytes, make_part, manifest_of, writer_of
from support.rows import random_rows

from store_server.storage import (
    BlockDamaged,
    DataRoot,
    Manifest,
    RowsNotHeld,
    StorageError,
    TableDamaged,
    VersionUnavailable,
    root_writer,
    verify,
)
from store_server.storage.block_writer import BlockWriter
from store_server.storage.held_blocks import blocks_of, held_blocks, ranges_of

NUM_BLOCKS, BLOCK_ROWS = 6, 4_095
ROWS = random_rows(5 * BLOCK_ROWS + 100, 264)
FIRST_ROWS = np.arange(NUM_BLOCKS) * BLOCK_ROWS


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory, publish: Callable[..., str]) -> Manifest:
    root = tmp_path_factory.mktemp("whole") / "root"
    publish(root, "t", ROWS)
    assert manifest_of(root, "t").num_blocks == NUM_BLOCKS
    return manifest_of(root, "t")


@pytest.fixture
def part(root: Path, manifest: Manifest) -> Path:
    """A data root with blocks 1, 2 and 5."""
    make_part(root, "t", ROWS, manifest, [1, 2, 5])
    return root


def held_json(root: Path) -> Path:
    return next(root.glob("tables/t/versions/*/held.json"))


def gathered(backend: object, rows: list[int]) -> np.ndarray:
    out = np.empty((len(rows), 264), np.uint8)
    backend.gather(np.array(rows, np.int64), out)
    return out


def test_a_million_random_rows_of_a_part_are_those_that_numpy_takes(
    tmp_path: Path, root: Path, publish: Callable, open_version: Callable
) -> None:
    table = random_rows(900_000, 8)
    publish(tmp_path / "whole", "t", table)
    manifest = manifest_of(tmp_path / "whole", "t")
    blocks = [1, 2, 4, 6]
    make_part(root, "t", table, manifest, blocks)
    rows = np.random.default_rng(7).integers(0, len(table), 1_000_000)
    are_held = np.isin(rows // manifest.block_rows, blocks)
    out = np.empty((are_held.sum(), 8), np.uint8)

    backend = open_version(root, "t")
    backend.gather(rows[are_held], out)

    assert 0.3 < are_held.mean() < 0.8
    assert np.array_equal(out, table[rows[are_held]])
    with pytest.raises(RowsNotHeld, match=f"row {rows[~are_held][0]} "):
        backend.gather(rows, np.empty((len(rows), 8), np.uint8))


@pytest.mark.parametrize("outside", [0, BLOCK_ROWS - 1, 3 * BLOCK_ROWS, 5 * BLOCK_ROWS - 1])
def test_a_row_outside_is_refused_before_any_row_is_copied(part: Path, open_version: Callable, outside: int) -> None:
    backend, out = open_version(part, "t"), np.full((3, 264), 7, np.uint8)
    rows = np.array([BLOCK_ROWS, outside, len(ROWS) - 1])

    for gather in (backend.gather, backend.gather_from_ram):
        with pytest.raises(RowsNotHeld, match=f"row {outside} of table 't'") as caught:
            gather(rows, out)
        assert (caught.value.table, caught.value.row) == ("t", outside)
        assert (out == 7).all()


def test_a_block_that_comes_is_served_by_who_has_the_version_open(part: Path, open_version: Callable) -> None:
    backend = open_version(part, "t")
    with pytest.raises(RowsNotHeld):
        gathered(backend, [0])

    with writer_of(part, "t") as writer:
        writer.store({0: block_bytes(ROWS, BLOCK_ROWS, 0)})

    assert np.array_equal(gathered(backend, [0, BLOCK_ROWS - 1]), ROWS[[0, BLOCK_ROWS - 1]])


def test_a_block_that_goes_is_refused_at_once_and_its_neighbours_keep_every_byte(
    part: Path, open_version: Callable
) -> None:
    backend = open_version(part, "t")
    data = next(part.glob("tables/t/versions/*/rows.bin"))
    before = data.stat().st_blocks

    with writer_of(part, "t") as writer:
        writer.let_go([(2, 3)])
        with pytest.raises(RowsNotHeld):
            gathered(backend, [2 * BLOCK_ROWS])
        writer.give_back([(2, 3)])

    assert (before - data.stat().st_blocks) * 512 > 0.9 * BLOCK_ROWS * 264
    rows = [*range(BLOCK_ROWS, 2 * BLOCK_ROWS), *range(5 * BLOCK_ROWS, len(ROWS))]
    assert np.array_equal(gathered(backend, rows), ROWS[rows])


def test_disk_space_of_a_block_that_came_back_is_not_given_back(part: Path, open_version: Callable) -> None:
    with writer_of(part, "t") as writer:
        writer.let_go([(1, 3)])
        writer.store({1: block_bytes(ROWS, BLOCK_ROWS, 1)})
        writer.give_back([(1, 3)])

    assert np.array_equal(gathered(open_version(part, "t"), [BLOCK_ROWS]), ROWS[[BLOCK_ROWS]])
    assert held_blocks(DataRoot.open(part).stored_version("t", manifest_of(part, "t").version)).tolist() == [
        *(False, True, False),
        *(False, False, True),
    ]


class LetsGo:
    """A layout that loses block 1 just before it copies."""

    def __init__(self, layout: object, writer: BlockWriter) -> None:
        self.piece_bytes, self.places = layout.piece_bytes, layout.places
        self._layout, self._writer = layout, writer

    def gather(self, rows: np.ndarray, out: np.ndarray) -> None:
        self._writer.let_go([(1, 2)])
        self._writer.give_back([(1, 2)])
        self._layout.gather(rows, out)


@pytest.mark.parametrize("gather", ["gather", "gather_from_ram"])
def test_a_gather_during_which_a_block_goes_is_refused(part: Path, open_version: Callable, gather: str) -> None:
    """The block may have been taken out of the file before its rows were copied."""
    backend, rows, out = open_version(part, "t"), np.array([BLOCK_ROWS]), np.empty((1, 264), np.uint8)
    backend.gather(rows, out)  # in RAM from now on

    with writer_of(part, "t") as writer:
        backend._held = dataclasses.replace(backend._held, layout=LetsGo(backend._held.layout, writer))
        with pytest.raises(RowsNotHeld):
            getattr(backend, gather)(rows, out)


class LetsGoAndStores(LetsGo):
    """The first time, another process lets a block go before the rows are copied, and stores it anew afterwards."""

    def gather(self, rows: np.ndarray, out: np.ndarray) -> None:
        super().gather(rows, out)
        self._writer.store({1: block_bytes(ROWS, BLOCK_ROWS, 1)})
        self.gather = self._layout.gather


@pytest.mark.parametrize("held", ["part", "whole"])
@pytest.mark.parametrize("gather", ["gather", "gather_from_ram"])
def test_a_gather_during_which_a_block_goes_and_comes_back_brings_the_right_rows(
    root: Path, manifest: Manifest, publish: Callable, open_version: Callable, gather: str, held: str
) -> None:
    if held == "whole":
        publish(root, "t", ROWS)
    else:
        make_part(root, "t", ROWS, manifest, [1, 2])
    backend, rows, out = open_version(root, "t"), np.array([BLOCK_ROWS]), np.empty((1, 264), np.uint8)
    backend.gather(rows, out)  # in RAM from now on

    with writer_of(root, "t") as writer:
        backend._held = dataclasses.replace(backend._held, layout=LetsGoAndStores(backend._held.layout, writer))
        getattr(backend, gather)(rows, out)

    assert np.array_equal(out, ROWS[rows])


def test_what_was_dropped_is_read_on_as_it_was_and_not_by_what_takes_its_place(
    part: Path, publish: Callable, open_version: Callable
) -> None:
    """The same version published whole takes the place of the part; its map still has the holes."""
    backend = open_version(part, "t")
    publish(part, "t", ROWS)

    assert not list(part.glob("tables/t/versions/*/held.json"))
    assert np.array_equal(gathered(backend, [BLOCK_ROWS]), ROWS[[BLOCK_ROWS]])
    with pytest.raises(RowsNotHeld):
        gathered(backend, [0])
    assert np.array_equal(gathered(open_version(part, "t"), [0]), ROWS[[0]])


@pytest.mark.parametrize("backend", ["mmap", "lmdb", "safetensors"])
def test_a_bad_block_of_any_backend_is_quarantined_and_a_sound_one_is_not(
    root: Path, publish: Callable, open_version: Callable, backend: str
) -> None:
    version = publish(root, "t", ROWS, backend=backend)
    if backend == "safetensors":
        list(verify(DataRoot.open(root), "t", version))
    opened = open_version(root, "t")
    stored = DataRoot.open(root).stored_version("t", version)
    written = stored.data_path.stat()
    content = bytearray(stored.data_path.read_bytes())
    content[content.index(ROWS[3 * BLOCK_ROWS].tobytes()[:256]) + 9] ^= 1
    with stored.data_path.open("r+b") as file:
        file.write(content)
    os.utime(stored.data_path, ns=(written.st_atime_ns, written.st_mtime_ns))

    with writer_of(root, "t") as writer:
        outcomes = [writer.quarantine(block) for block in (2, 3, 3)]

    assert outcomes == [False, True, False]
    with pytest.raises(RowsNotHeld):
        gathered(opened, [3 * BLOCK_ROWS])
    assert np.array_equal(gathered(opened, [0, len(ROWS) - 1]), ROWS[[0, -1]])


def test_blocks_that_were_let_go_and_lie_there_still_are_found_and_what_was_never_written_is_not_read(
    part: Path,
) -> None:
    def bytes_read() -> int:
        return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())["rchar"])

    with writer_of(part, "t") as writer:
        writer.let_go([(2, 3)])
        before = bytes_read()
        writer.hold_right([(0, NUM_BLOCKS)])
        assert bytes_read() - before < 2 * BLOCK_ROWS * 264

        assert np.flatnonzero(writer.held()).tolist() == [1, 2, 5]


@pytest.mark.parametrize("backend", ["mmap", "lmdb"])
def test_a_quarantined_block_is_written_anew_in_place(
    root: Path, publish: Callable, open_version: Callable, backend: str
) -> None:
    publish(root, "t", ROWS, backend=backend)
    data = next(root.glob("tables/t/versions/*/rows.*"))
    intact = data.read_bytes()
    damaged = bytearray(intact)
    damaged[intact.index(ROWS[3 * BLOCK_ROWS].tobytes()) + 9] ^= 1
    data.write_bytes(damaged)

    with writer_of(root, "t") as writer:
        assert writer.quarantine(3)
        writer.store({3: block_bytes(ROWS, BLOCK_ROWS, 3)})

    assert data.read_bytes() == intact
    assert np.array_equal(gathered(open_version(root, "t"), [3 * BLOCK_ROWS]), ROWS[[3 * BLOCK_ROWS]])


def test_a_block_that_is_held_is_not_written_again_under_those_who_read_it(part: Path, open_version: Callable) -> None:
    with writer_of(part, "t") as writer:
        writer.store({1: bytes(BLOCK_ROWS * 264)})

    assert np.array_equal(gathered(open_version(part, "t"), [BLOCK_ROWS]), ROWS[[BLOCK_ROWS]])


def test_blocks_of_an_attached_checkpoint_are_not_ours_to_write(root: Path, publish: Callable) -> None:
    publish(root, "t", ROWS, backend="safetensors")

    with writer_of(root, "t") as writer, pytest.raises(StorageError, match="not ours to write"):
        writer.store({0: b""})


def test_verify_reads_what_is_held_and_no_hole(part: Path, manifest: Manifest) -> None:
    progress = list(verify(DataRoot.open(part), "t", manifest.version))

    assert [(step.blocks_done, step.num_blocks) for step in progress] == [(1, 3), (2, 3), (3, 3)]
    assert progress[-1].bytes_done == progress[-1].num_bytes == (2 * BLOCK_ROWS + 100) * 264


def test_verify_finds_a_bad_block_of_a_part(part: Path, manifest: Manifest) -> None:
    data = next(part.glob("tables/t/versions/*/rows.bin"))
    with data.open("r+b") as file:
        file.seek(2 * BLOCK_ROWS * 264)
        file.write(b"\x00\x01")

    with pytest.raises(BlockDamaged, match="block 2 "):
        list(verify(DataRoot.open(part), "t", manifest.version))


def test_a_block_that_is_given_up_while_a_version_is_verified_is_no_damage(part: Path, manifest: Manifest) -> None:
    steps = verify(DataRoot.open(part), "t", manifest.version)
    next(steps)
    with writer_of(part, "t") as writer:
        writer.let_go([(2, 3)])
        writer.give_back([(2, 3)])

    assert [step.blocks_done for step in steps] == [3]


def test_a_part_is_not_loaded_into_memory(part: Path, open_version: Callable) -> None:
    with pytest.raises(VersionUnavailable, match="3 of 6 blocks are held.*without --in-memory"):
        open_version(part, "t", in_memory=True)


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"", "Expecting value"),
        (b"[]", "must be an object of format 1"),
        (b'{"format": 2, "blocks": []}', "must be an object of format 1"),
        (b'{"format": 1, "blocks": [[0, 1.5]]}', "two whole numbers"),
        (b'{"format": 1, "blocks": [[0, 7]]}', "must lie in 0 to 6.*got 0 to 7"),
        (b'{"format": 1, "blocks": [[3, 3]]}', "at least one, got 3 to 3"),
        (b'{"format": 1, "blocks": [], "removals": "1"}', "removals must be a whole number, got '1'"),
    ],
)
def test_a_version_that_does_not_say_what_is_held_is_not_served(
    part: Path, open_version: Callable, content: bytes, wrong: str
) -> None:
    backend = open_version(part, "t")
    held_json(part).write_bytes(content)

    with pytest.raises(TableDamaged, match=f"does not say which blocks are held: .*{wrong}"):
        open_version(part, "t")
    with pytest.raises(TableDamaged):
        gathered(backend, [BLOCK_ROWS])


def test_ranges_and_blocks_are_two_ways_to_say_the_same() -> None:
    random = np.random.default_rng(0)
    for num_blocks in range(1, 40):
        blocks = random.random(num_blocks) < 0.5

        ranges = ranges_of(blocks)

        listed = [block for first, end in ranges for block in range(first, end)]
        assert listed == np.flatnonzero(blocks).tolist()
        assert np.array_equal(blocks_of(ranges, num_blocks), blocks)


def test_two_processes_change_what_is_held_and_lose_nothing_of_each_other(part: Path, manifest: Manifest) -> None:
    program = """
import sys
from pathlib import Path
from support.parts import block_bytes, writer_of
from support.rows import random_rows
rows, block = random_rows(5 * 4095 + 100, 264), int(sys.argv[2])
with writer_of(Path(sys.argv[1]), "t") as writer:
    for _ in range(20):
        writer.store({block: block_bytes(rows, 4095, block)})
        assert writer.held()[block]
        writer.let_go([(block, block + 1)])
    writer.store({block: block_bytes(rows, 4095, block)})
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(part), str(block)], stderr=subprocess.PIPE, text=True, env=with_tests()
        )
        for block in (0, 3)
    ]
    for process in processes:
        assert process.communicate(timeout=60)[1] == ""

    assert json.loads(held_json(part).read_text()) == {"format": 1, "blocks": [[0, 4], [5, 6]], "removals": 40}
    list(verify(DataRoot.open(part), "t", manifest.version))


@pytest.mark.parametrize("is_part", [True, False], ids=["part", "whole"])
def test_a_version_that_was_removed_holds_nothing(
    root: Path, manifest: Manifest, publish: Callable[..., str], *, is_part: bool
) -> None:
    if is_part:
        make_part(root, "t", ROWS, manifest, [1])
    else:
        publish(root, "t", ROWS)
    stored = DataRoot.open(root).stored_version("t", manifest.version)
    with root_writer(root) as writer:
        writer.drop_table("t")

    with pytest.raises(StorageError, match=f"version {manifest.version} was removed"):
        held_blocks(stored)
