"""Versions whose rows lie in files that are not ours: their names, their digests, and files that change."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from support.checkpoints import attach_rows

from store_server.storage import (
    Backend,
    BlockDamaged,
    DataRoot,
    InvalidTableName,
    Manifest,
    TableDamaged,
    root_writer,
    verify,
)
from store_server.storage.attachment import attached_manifest
from store_server.storage.files.safetensors_file import read_safetensors_file

TABLE = np.random.default_rng(0).integers(0, 256, (9_000, 264), dtype=np.uint8)


@pytest.fixture
def attached(root: Path) -> tuple[DataRoot, str]:
    """A data root with the attached table "t", and its version; its file is `checkpoint_file(root)`."""
    version = attach_rows(root, "t", TABLE)
    return DataRoot.open(root), version


def checkpoint_file(root: Path) -> Path:
    return root.parent / "t.safetensors"


def manifest_of(path: Path, **described: str) -> Manifest:
    file = read_safetensors_file(path)
    return attached_manifest([(file, file.tensors["0.rows"]), (file, file.tensors["1.rows"])], **described)


def flip_a_bit(path: Path, place: int) -> None:
    """Change a byte without leaving a trace in the file's times."""
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 0x10]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def rewritten(path: Path, change: Callable[[dict[str, NDArray]], None]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_a_copy_of_a_checkpoint_has_the_same_version(root: Path, attached: tuple[DataRoot, str]) -> None:
    copy = root.parent / "elsewhere" / "copy.safetensors"
    copy.parent.mkdir()
    shutil.copy(checkpoint_file(root), copy)
    os.utime(copy, ns=(1, 1))

    assert manifest_of(copy).version == attached[1]


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.update({"0.rows": tensors["0.rows"][:-1], "1.rows": tensors["1.rows"][:-1]}),
        lambda tensors: tensors.update(other=np.zeros(3)),
    ],
)
def test_the_version_changes_with_the_header_and_the_size(
    root: Path, attached: tuple[DataRoot, str], change: Callable[[dict[str, NDArray]], None]
) -> None:
    rewritten(checkpoint_file(root), change)

    assert manifest_of(checkpoint_file(root)).version != attached[1]


@pytest.mark.parametrize("tensor", ["0.rows", "1.rows"])
@pytest.mark.parametrize("row", [0, 8_999])
def test_a_retrained_checkpoint_has_another_version_though_its_header_is_the_same(
    root: Path, attached: tuple[DataRoot, str], tensor: str, row: int
) -> None:
    before = read_safetensors_file(checkpoint_file(root))
    rewritten(checkpoint_file(root), lambda tensors: tensors[tensor].__setitem__((row, 0), tensors[tensor][row, 0] ^ 1))

    after = read_safetensors_file(checkpoint_file(root))
    assert (after.header_digest, after.num_bytes) == (before.header_digest, before.num_bytes)
    assert manifest_of(checkpoint_file(root)).version != attached[1]


@pytest.mark.parametrize("described", [{"index_digest": "ab"}, {"fingerprint": "f"}, {"row_format": "int8"}])
def test_the_version_changes_with_the_index_and_what_the_rows_mean(
    root: Path, attached: tuple[DataRoot, str], described: dict[str, str]
) -> None:
    assert manifest_of(checkpoint_file(root), **described).version != attached[1]


def test_a_manifest_survives_being_written_and_read(root: Path, attached: tuple[DataRoot, str]) -> None:
    manifest = manifest_of(checkpoint_file(root), index_digest="ab")

    assert Manifest.from_json(manifest.to_json()) == manifest
    assert Manifest.from_json(manifest.to_json()).version == manifest.version


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offset": 8}, "another name"),
        ({"tensor": "2.rows"}, "another name"),
        ({"header_digest": "00"}, "another name"),
        ({"sample_digest": "00"}, "another name"),
        ({"offset": 1 << 40}, "end at byte"),
        ({"file_bytes": 10}, "the file has 10"),
        ({"offset": -1}, "not negative"),
        ({"row_bytes": 255}, "264 bytes wide together, got 263"),
        ({"row_bytes": "256"}, "a segment must have"),
        ({"path": "rows.safetensors"}, "must be absolute"),
        ({"path": "/rows\0.safetensors"}, "must be absolute"),
        ({"path": "/\ud800.safetensors"}, "must be absolute"),
        ({"offset": 10**4299}, "below 2\\^63"),
        ({"more": 1}, "a segment must have"),
    ],
)
def test_a_manifest_whose_segments_were_changed_by_hand_is_refused(
    root: Path, attached: tuple[DataRoot, str], change: dict[str, object], message: str
) -> None:
    path = root / "tables" / "t" / "versions" / attached[1] / "table.json"
    fields = json.loads(path.read_text())
    fields["segments"][0] |= change
    path.write_text(json.dumps(fields))

    with pytest.raises(TableDamaged, match=message):
        attached[0].manifest("t", attached[1])


def test_the_first_verify_records_digests_and_the_next_compares_with_them(
    root: Path, attached: tuple[DataRoot, str]
) -> None:
    data_root, version = attached
    assert data_root.manifest("t", version).block_digests == ()

    progress = list(verify(data_root, "t", version))

    assert [step.blocks_done for step in progress] == [1, 2, 3]
    assert progress[-1].bytes_done == progress[-1].num_bytes == TABLE.size
    assert len(data_root.manifest("t", version).block_digests) == 3
    assert data_root.current_version("t") == version
    assert [step.blocks_done for step in verify(data_root, "t", version)] == [1, 2, 3]


def test_the_digests_are_those_of_the_same_rows_imported(
    root: Path, attached: tuple[DataRoot, str], publish: Callable[..., str]
) -> None:
    data_root, version = attached
    list(verify(data_root, "t", version))

    imported = data_root.manifest("copy", publish(root, "copy", TABLE))

    assert data_root.manifest("t", version).block_digests == imported.block_digests


@pytest.mark.parametrize("segment", [0, 1])
def test_a_bit_that_flips_after_the_first_verify_is_found_and_its_block_named(
    root: Path, attached: tuple[DataRoot, str], segment: int
) -> None:
    data_root, version = attached
    list(verify(data_root, "t", version))
    place = data_root.manifest("t", version).segments[segment]
    flip_a_bit(checkpoint_file(root), place.offset + 5_000 * place.row_bytes)

    with pytest.raises(BlockDamaged) as caught:
        list(verify(data_root, "t", version))
    with pytest.raises(BlockDamaged):
        data_root.open_backend("t", version, in_memory=True)

    assert (caught.value.block, caught.value.first_row, caught.value.last_row) == (1, 4_095, 8_189)
    assert caught.value.path == checkpoint_file(root)


def test_attaching_again_keeps_the_digests(root: Path, attached: tuple[DataRoot, str]) -> None:
    data_root, version = attached
    list(verify(data_root, "t", version))
    os.utime(checkpoint_file(root), ns=(1, 1))

    with root_writer(root) as writer:
        writer.attach({"t": manifest_of(checkpoint_file(root))})

    manifest = data_root.manifest("t", version)
    assert (len(manifest.block_digests), manifest.segments[0].mtime_ns) == (3, 1)
    list(verify(data_root, "t", version))


def test_a_verify_that_is_given_up_records_nothing_and_lets_go_of_the_root(
    root: Path, attached: tuple[DataRoot, str]
) -> None:
    steps = verify(attached[0], "t", attached[1])
    next(steps)
    steps.close()

    assert attached[0].manifest("t", attached[1]).block_digests == ()
    with root_writer(root):
        pass


def test_a_file_that_is_written_to_during_the_first_verify_is_not_taken_for_the_truth(
    root: Path, attached: tuple[DataRoot, str]
) -> None:
    steps = verify(attached[0], "t", attached[1])
    next(steps)
    os.utime(checkpoint_file(root), ns=(1, 1))

    with pytest.raises(TableDamaged, match="was written to"):
        list(steps)
    assert attached[0].manifest("t", attached[1]).block_digests == ()


def test_rows_that_were_changed_in_secret_before_the_first_verify_are_seen_in_the_sample(
    root: Path, attached: tuple[DataRoot, str]
) -> None:
    flip_a_bit(checkpoint_file(root), attached[0].manifest("t", attached[1]).segments[0].offset)

    with pytest.raises(TableDamaged, match=r"'0\.rows' holds other rows than when it was attached"):
        list(verify(attached[0], "t", attached[1]))
    assert attached[0].manifest("t", attached[1]).block_digests == ()


def shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def rename_a_tensor(path: Path) -> None:
    content = path.read_bytes()
    times = path.stat()
    path.write_bytes(content.replace(b'"0.others"', b'"9.others"'))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shrink, "another size"),
        (touch, "was written to"),
        (rename_a_tensor, "the header was changed"),
        (Path.unlink, "the file is missing"),
    ],
)
def test_a_file_that_is_not_what_was_attached_is_refused(
    root: Path,
    attached: tuple[DataRoot, str],
    change: Callable[[Path], None],
    message: str,
    in_memory: bool,
) -> None:
    change(checkpoint_file(root))

    with pytest.raises(TableDamaged, match=message) as caught:
        attached[0].open_backend("t", attached[1], in_memory=in_memory)

    assert caught.value.path == checkpoint_file(root)


def test_only_the_pages_of_the_table_count_as_resident(
    root: Path, attached: tuple[DataRoot, str], open_version: Callable[..., Backend]
) -> None:
    backend = open_version(root, "t")
    with checkpoint_file(root).open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    backend.refresh_residency()
    if backend.resident:
        pytest.skip("this file system holds its pages in RAM (tmpfs)")

    for _ in backend.blocks():
        pass
    backend.refresh_residency()

    assert backend.resident


def test_nothing_is_attached_unless_everything_can_be(root: Path, attached: tuple[DataRoot, str]) -> None:
    manifest = manifest_of(checkpoint_file(root))

    with root_writer(root) as writer, pytest.raises(InvalidTableName):
        writer.attach({"a": manifest, "../b": manifest})

    assert attached[0].table_names() == ["t"]
    assert list((root / "staging").iterdir()) == []


def test_an_attached_version_may_follow_an_imported_one_and_be_dropped(
    root: Path, attached: tuple[DataRoot, str], publish: Callable[..., str]
) -> None:
    data_root, version = attached
    imported = publish(root, "t", TABLE)
    assert data_root.current_version("t") == imported

    with root_writer(root) as writer:
        writer.drop("t", version)

    assert data_root.versions("t") == [imported]
    assert checkpoint_file(root).exists()
