"""Damaged copies of a node are removed, so that it fetches them again; nothing else is."""

import json

import pytest
from support.parts import make_part, manifest_of
from support.rows import random_rows
from support.tables import write_table

from engram_store.shard_map import VersionKey
from store_server.cluster.holdings.copies import Copies
from store_server.cluster.holdings.damaged_copies import mend_copies
from store_server.cluster.holdings.own_holdings import OwnHoldings
from store_server.storage import DataRoot, root_writer

ROWS = random_rows(3 * 4_095, 264)


class Scene:
    """A data root with a copy of a table; `origin` is where it came from."""

    def __init__(self, directory):
        self.origin, path = directory / "origin", directory / "root"
        self.key = VersionKey("t", write_table(self.origin, "t", ROWS))
        make_part(path, "t", ROWS, manifest_of(self.origin, "t"), [0, 2])
        self.root, self.copies = DataRoot.open(path), Copies(path)
        self.copies.add(self.key)
        self.directory = self.root.version_path(*self.key)

    def mend(self, current=(), under_way=frozenset()):
        holdings = OwnHoldings(self.root)
        holdings()
        mend_copies(self.root, self.copies, holdings.damaged - under_way, current=current)
        return [(name, version) for name in self.root.table_names() for version in self.root.versions(name)]


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    with path.open("r+b") as file:
        file.truncate(100)


@pytest.mark.parametrize(
    ("name", "damage"), [("table.json", flipped), ("rows.bin", cut), ("held.json", lambda path: path.write_text("{"))]
)
def test_a_copy_with_a_damaged_file_is_removed_and_a_sound_one_stays(scene, name, damage):
    assert scene.mend() == [scene.key]
    imported = VersionKey("mine", write_table(scene.root.path, "mine", ROWS))

    damage(scene.directory / name)

    assert scene.mend() == [imported]


def test_another_version_of_the_table_stays_and_is_current(scene):
    other = VersionKey("t", write_table(scene.root.path, "t", ROWS ^ 1))
    with root_writer(scene.root.path) as writer:
        writer.make_current(*scene.key)
    flipped(scene.directory / "table.json")

    assert scene.mend() == [other]
    assert scene.root.current_version("t") == other.version


@pytest.mark.parametrize("reason", ["imported", "under way", "another writer", "of a later program"])
def test_what_is_not_to_be_removed_stays(scene, reason):
    cut(scene.directory / "rows.bin")
    under_way = {scene.key} if reason == "under way" else set()
    if reason == "imported":
        scene.copies.discard(scene.key)
    if reason == "of a later program":
        (scene.directory / "table.json").write_text(json.dumps({"format": 2}))

    if reason == "another writer":
        with root_writer(scene.root.path):
            assert scene.mend() == [scene.key]
    else:
        assert scene.mend(under_way=under_way) == [scene.key]


def test_where_it_cannot_be_read_what_is_current_a_copy_is_made_current_first_that_of_the_map(scene):
    other = VersionKey("t", write_table(scene.origin, "t", ROWS ^ 1))
    make_part(scene.root.path, "t", ROWS ^ 1, manifest_of(scene.origin, "t"), [1])
    scene.copies.add(other)
    away = VersionKey("t", "0" * 32)
    scene.copies.add(away)
    for current in (other, scene.key, away):
        (scene.root.table_path("t") / "CURRENT").write_bytes(b"\0")

        assert sorted(scene.mend([current])) == sorted([scene.key, other])
        expected = {scene.key.version, other.version} if current == away else {current.version}
        assert scene.root.current_version("t") in expected


def test_where_it_cannot_be_read_what_is_current_of_an_imported_table_it_stays_so(scene):
    scene.copies.discard(scene.key)
    current = scene.root.table_path("t") / "CURRENT"
    current.write_bytes(b"\0")

    mend_copies(scene.root, scene.copies, [], current=[scene.key])

    assert current.read_bytes() == b"\0"
