"""What else lies in a data root: what of it a backup has, and what must not be in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.backups import back_up, rows_in, verified
from support.parts import make_part, manifest_of, writer_of
from support.rows import random_rows
from support.shard_maps import later, shard_map_of
from support.tables import write_table

from engram_store.shard_map import VersionKey
from store_server.cluster.holdings.copies import Copies
from store_server.cluster.kept_cluster_id import KeptClusterId
from store_server.cluster.known_map import KnownMap
from store_server.storage import DataRoot, VersionQuarantined
from store_server.storage.arrivals import begin_arrival
from store_server.storage.data_root import PlacedVersion
from store_server.storage.node_lock import NodeLock
from store_server.storage.version_quarantine import put_in_quarantine

BLOCK_ROWS = 4_095
ROWS = random_rows(4 * BLOCK_ROWS, 264)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def test_locks_marks_and_what_is_half_written_are_in_no_backup(root: Path, to: Path, tmp_path: Path) -> None:
    write_table(root, "t", ROWS)
    write_table(tmp_path / "elsewhere", "u", ROWS[:9])
    begin_arrival(DataRoot.open(root), "u", manifest_of(tmp_path / "elsewhere", "u"))
    NodeLock(root).take("node-of-the-root")
    (root / "staging" / "0123456789abcdef").mkdir()
    (root / "cluster" / "read").mkdir(parents=True)
    (root / "cluster" / "read" / "0123").touch()
    (root / "cluster" / "try.17").touch()

    back_up(root, to)

    names = {str(path.relative_to(to)) for path in to.rglob("*") if not path.is_relative_to(to / "tables")}
    assert names == {"LOCK", "NODE", "staging", "incoming"}
    assert "node-of-the-root" not in (to / "NODE").read_text()
    assert verified(to).keys() == {"t"}


def test_a_version_in_quarantine_whose_blocks_are_right_is_served_from_the_backup(root: Path, to: Path) -> None:
    version = write_table(root, "t", ROWS)
    data_root = DataRoot.open(root)
    put_in_quarantine(data_root, PlacedVersion("t", version, data_root.place("t", version)), "it ended two workers")
    with pytest.raises(VersionQuarantined):
        rows_in(root, "t")

    back_up(root, to)

    assert (rows_in(to, "t") == ROWS).all()


def test_what_a_node_has_fetched_is_its_own_in_the_backup_too_and_what_was_imported_is_not(
    root: Path, to: Path, tmp_path: Path
) -> None:
    write_table(tmp_path / "elsewhere", "fetched", ROWS)
    manifest = manifest_of(tmp_path / "elsewhere", "fetched")
    imported = VersionKey("imported", write_table(root, "imported", ROWS[:9]))
    fetched, gone = VersionKey("fetched", manifest.version), VersionKey("gone", "0" * 32)
    make_part(root, "fetched", ROWS, manifest, [0, 2])
    for key in (fetched, imported, gone):  # it was fetched once, and published here since
        Copies(root).add(key)

    back_up(root, to)

    assert list(Copies(to)) == [fetched]
    with writer_of(to, "fetched") as writer:
        assert writer.held().tolist() == [True, False, True, False]


def test_a_backup_keeps_the_last_shard_map_and_never_an_older_one(root: Path, to: Path) -> None:
    write_table(root, "t", ROWS[:9])
    first = shard_map_of()
    KnownMap(root).take(first)
    back_up(root, to)
    assert KnownMap(to).newest == first

    second = later(first)
    KnownMap(root).take(second)
    back_up(root, to)
    (root / "cluster" / "map.json").unlink()
    KnownMap(root).take(first)
    back_up(root, to)

    assert KnownMap(to).newest == second


def test_a_backup_belongs_to_the_cluster_of_its_node(root: Path, to: Path) -> None:
    write_table(root, "t", ROWS[:9])
    back_up(root, to)
    assert KeptClusterId(to).value == ""

    KeptClusterId(root).take("0f" * 16)
    back_up(root, to)

    assert KeptClusterId(to).value == "0f" * 16
