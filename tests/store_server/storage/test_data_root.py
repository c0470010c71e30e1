from __future__ import annotations

import contextlib
import ctypes
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from store_server.storage import (
    Backend,
    DataRoot,
    InvalidTableName,
    RootNotFound,
    StorageFailure,
    TableDamaged,
    TableNotFound,
    VersionNotFound,
)

TABLE = np.random.default_rng(0).integers(0, 256, (9_000, 264), dtype=np.uint8)
BACKENDS = ("mmap", "lmdb")
Publish = Callable[..., str]


def data_file(root: Path, table: str) -> Path:
    return next(root.glob(f"tables/{table}/versions/*/rows.*"))


@pytest.mark.parametrize("make", [lambda _: None, Path.mkdir, Path.touch])
def test_what_is_not_a_data_root_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "root")

    with pytest.raises(RootNotFound) as caught:
        DataRoot.open(tmp_path / "root")

    assert caught.value.path == tmp_path / "root"


def test_tables_are_listed_by_name(root: Path, publish: Publish) -> None:
    for name in ("b", "a/z", "a/b"):
        publish(root, name, TABLE)
    (root / "tables" / "not a table").mkdir()
    (root / "tables" / "half").mkdir()

    assert DataRoot.open(root).table_names() == ["a/b", "a/z", "b"]


def test_tables_that_cannot_be_listed_are_a_failure_and_not_none(root: Path, publish: Publish) -> None:
    publish(root, "t", TABLE)
    (root / "tables").chmod(0)

    def listed_by_nobody() -> list[str]:
        ctypes.CDLL(None).setfsuid(65534)  # of this thread only: for root there are no permissions
        return DataRoot(Path()).table_names()

    # From within the root, as nobody may pass the directories above it.
    with contextlib.chdir(root), ThreadPoolExecutor(1) as thread, pytest.raises(StorageFailure, match="denied"):
        thread.submit(listed_by_nobody).result()
    (root / "tables").chmod(0o755)


def test_a_table_that_cannot_be_looked_at_is_there_and_says_so(root: Path, publish: Publish) -> None:
    publish(root, "t", TABLE)
    current = root / "tables" / "t" / "CURRENT"
    current.unlink()
    current.symlink_to(current)

    assert DataRoot.open(root).table_names() == ["t"]
    with pytest.raises(StorageFailure, match="symbolic links"):
        DataRoot.open(root).current_version("t")


def test_a_version_that_comes_back_has_another_place(root: Path, publish: Publish) -> None:
    """Also with the number that the file system gave the directory before it was removed."""
    version = publish(root, "t", TABLE)
    data_root = DataRoot.open(root)
    before = data_root.place("t", version)
    again = data_root.place("t", version)
    directory = data_root.version_path("t", version)
    os.utime(directory / "table.json")  # what a directory made anew differs in

    after = data_root.place("t", version)

    assert before == again
    assert before != after
    assert before.inode == after.inode


def test_the_manifest_says_what_was_published(root: Path, publish: Publish) -> None:
    version = publish(root, "t", TABLE, row_format="bfloat16", fingerprint="abc")

    manifest = DataRoot.open(root).manifest("t", version)

    assert (manifest.num_rows, manifest.row_bytes, manifest.row_format) == (9_000, 264, "bfloat16")
    assert (manifest.fingerprint, manifest.backend, manifest.num_bytes) == ("abc", "mmap", TABLE.size)


def test_unknown_tables_and_versions_are_named(root: Path, publish: Publish) -> None:
    version = publish(root, "t", TABLE)
    data_root = DataRoot.open(root)

    with pytest.raises(TableNotFound) as no_table:
        data_root.manifest("other", version)
    with pytest.raises(VersionNotFound) as no_version:
        data_root.manifest("t", "f" * 32)

    assert no_table.value.table == "other"
    assert (no_version.value.table, no_version.value.version, no_version.value.current) == ("t", "f" * 32, version)


@pytest.mark.parametrize("version", ["", ".", "..", "../../t", "/etc", "\0", "F" * 32])
def test_a_version_is_never_taken_for_a_path(root: Path, publish: Publish, version: str) -> None:
    publish(root, "t", TABLE)

    with pytest.raises(VersionNotFound):
        DataRoot.open(root).manifest("t", version)


def test_a_name_is_never_taken_for_a_path(root: Path, publish: Publish) -> None:
    publish(root, "t", TABLE)

    for name in ("..", "/etc", "a\0", ""):
        with pytest.raises(InvalidTableName):
            DataRoot.open(root).current_version(name)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_truncated_file_is_refused_with_both_sizes(root: Path, publish: Publish, backend: str) -> None:
    version = publish(root, "t", TABLE, backend=backend)
    path = data_file(root, "t")
    size = path.stat().st_size
    os.truncate(path, size - 4096)

    with pytest.raises(TableDamaged) as caught:
        DataRoot.open(root).open_backend("t", version)

    assert (caught.value.path, caught.value.expected, caught.value.found) == (path, size, size - 4096)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_missing_file_is_refused(root: Path, publish: Publish, backend: str) -> None:
    version = publish(root, "t", TABLE, backend=backend)
    data_file(root, "t").unlink()

    with pytest.raises(TableDamaged, match="missing"):
        DataRoot.open(root).open_backend("t", version)


@pytest.mark.parametrize("content", [bytes, lambda size: b"\xff" * size, os.urandom])
def test_an_lmdb_file_that_is_none_is_refused(root: Path, publish: Publish, content: Callable[[int], bytes]) -> None:
    version = publish(root, "t", TABLE, backend="lmdb")
    path = data_file(root, "t")
    path.write_bytes(content(path.stat().st_size))

    with pytest.raises(TableDamaged, match="LMDB"):
        DataRoot.open(root).open_backend("t", version)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(
    root: Path, publish: Publish, open_version: Callable[..., Backend]
) -> None:
    publish(root, "t", TABLE)
    blocks = open_version(root, "t").blocks()
    next(blocks)
    os.truncate(data_file(root, "t"), 4095 * 264 + 100)

    with pytest.raises(TableDamaged, match="cut short"):
        next(blocks)


@pytest.mark.parametrize(
    "change",
    [
        {"num_rows": 8_999},
        {"row_bytes": 263},
        {"fingerprint": "forged"},
        {"row_format": "float32"},
        {"num_rows": "9000"},
    ],
)
def test_a_manifest_that_was_changed_by_hand_is_refused(
    root: Path, publish: Publish, change: dict[str, object]
) -> None:
    version = publish(root, "t", TABLE)
    path = root / "tables" / "t" / "versions" / version / "table.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))

    with pytest.raises(TableDamaged) as caught:
        DataRoot.open(root).manifest("t", version)

    assert caught.value.path == path


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"null"])
def test_a_manifest_that_cannot_be_read_is_refused(root: Path, publish: Publish, content: bytes) -> None:
    version = publish(root, "t", TABLE)
    path = root / "tables" / "t" / "versions" / version / "table.json"
    path.write_bytes(content)

    with pytest.raises(TableDamaged, match=r"table\.json"):
        DataRoot.open(root).manifest("t", version)


@pytest.mark.parametrize("content", [b"", b"..\n", b"\xff", b"0" * 31])
def test_a_current_file_that_names_no_version_is_refused(root: Path, publish: Publish, content: bytes) -> None:
    publish(root, "t", TABLE)
    (root / "tables" / "t" / "CURRENT").write_bytes(content)

    with pytest.raises(TableDamaged, match="CURRENT"):
        DataRoot.open(root).current_version("t")
