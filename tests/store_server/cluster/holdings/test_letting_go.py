"""What is taken away from a data root, and when, by a clock that the tests set."""

import dataclasses

import numpy as np
import pytest
from support.parts import make_part, manifest_of
from support.patches import patch_table
from support.rows import random_rows
from support.tables import write_table

from engram_store.shard_map import VersionKey
from store_server.cluster.holdings.copies import Copies
from store_server.cluster.holdings.letting_go import LettingGo
from store_server.cluster.holdings.own_holdings import OwnHoldings
from store_server.storage import DataRoot, root_writer
from store_server.storage.held_blocks import held_blocks
from store_server.storage.sparse_file import allocated_bytes

BLOCK_ROWS, NUM_BLOCKS = 8, 4
ROWS = random_rows(BLOCK_ROWS * NUM_BLOCKS, 1 << 17)
ALL, NONE = np.ones(NUM_BLOCKS, np.bool_), np.zeros(NUM_BLOCKS, np.bool_)
FIRST_TWO = np.array([True, True, False, False])
KEEP_SECONDS, LOOKUP_SECONDS = 300.0, 10.0


@dataclasses.dataclass
class Scene:
    """A data root with a copied version, and what lets go of it at a time of the test's choice."""

    root: DataRoot
    copies: Copies
    key: VersionKey
    seconds: float = 0.0
    free_bytes: int = 1000

    def __post_init__(self):
        self._own = OwnHoldings(self.root)
        self._letting_go = LettingGo(
            self.root,
            self.copies,
            KEEP_SECONDS,
            find=self._own.stored,
            lookup_seconds=LOOKUP_SECONDS,
            now=lambda: self.seconds,
            free_bytes=lambda: self.free_bytes,
        )

    def look(self, wanted, *, after, under_way=(), to_come=0):
        """Look `after` so many seconds; `wanted` None is a version that the map does not know."""
        self.seconds += after
        self._own()
        return self._letting_go.look({} if wanted is None else {self.key: wanted}, under_way, to_come)

    @property
    def makes_room(self):
        return self._letting_go.makes_room

    @property
    def held(self):
        return np.flatnonzero(held_blocks(self.root.stored_version(*self.key))).tolist()

    @property
    def disk_bytes(self):
        with self.root.stored_version(*self.key).data_path.open("rb") as file:
            return allocated_bytes(file.fileno())


@pytest.fixture
def scene(tmp_path):
    write_table(tmp_path / "origin", "rows", ROWS)
    manifest = manifest_of(tmp_path / "origin", "rows")
    make_part(tmp_path / "root", "rows", ROWS, manifest, list(range(NUM_BLOCKS)))
    key = VersionKey("rows", manifest.version)
    copies = Copies(tmp_path / "root")
    copies.add(key)
    return Scene(DataRoot.open(tmp_path / "root"), copies, key)


def test_blocks_go_after_the_grace_time_and_their_disk_space_a_while_later(scene):
    whole = scene.disk_bytes

    assert not scene.look(FIRST_TWO, after=0)
    assert not scene.look(FIRST_TWO, after=KEEP_SECONDS - 1)
    assert scene.held == [0, 1, 2, 3]
    assert scene.look(FIRST_TWO, after=1)
    assert (scene.held, scene.disk_bytes) == ([0, 1], whole)
    assert not scene.look(FIRST_TWO, after=0)
    assert not scene.look(FIRST_TWO, after=LOOKUP_SECONDS - 1)
    assert scene.disk_bytes == whole
    assert not scene.look(FIRST_TWO, after=1)
    assert (scene.held, scene.disk_bytes) == ([0, 1], whole // 2)


def test_blocks_that_are_wanted_again_in_time_stay_and_the_time_begins_anew(scene):
    scene.look(NONE, after=0)
    scene.look(ALL, after=KEEP_SECONDS - 1)

    assert not scene.look(NONE, after=KEEP_SECONDS)
    assert not scene.look(NONE, after=KEEP_SECONDS - 1)
    assert scene.held == [0, 1, 2, 3]


def test_a_version_that_no_set_names_is_removed_in_the_end_with_its_table(scene):
    scene.look(None, after=0)
    assert scene.look(None, after=KEEP_SECONDS)
    scene.look(None, after=0)

    scene.look(None, after=LOOKUP_SECONDS)

    assert scene.root.table_names() == []
    assert scene.key not in Copies(scene.root.path)


def test_a_version_of_which_nothing_is_wanted_stays_while_the_map_names_it(scene):
    for after in (0, KEEP_SECONDS, 0, LOOKUP_SECONDS, LOOKUP_SECONDS):
        scene.look(NONE, after=after)

    assert scene.root.versions("rows") == [scene.key.version]


def test_the_current_version_of_a_data_root_goes_too_and_another_becomes_it(scene):
    other = write_table(scene.root.path, "rows", ROWS ^ 1)
    with root_writer(scene.root.path) as writer:
        writer.make_current(*scene.key)

    for after in (0, KEEP_SECONDS, 0, LOOKUP_SECONDS):
        scene.look(None, after=after)

    assert (scene.root.versions("rows"), scene.root.current_version("rows")) == ([other], other)


def test_a_version_that_cannot_be_read_just_now_stays_one_that_was_copied(scene):
    manifest = scene.root.version_path(*scene.key) / "table.json"
    manifest.rename(manifest.with_name("away"))
    scene.look(None, after=0)

    assert scene.key in Copies(scene.root.path)


def test_what_was_not_copied_by_the_node_is_never_touched(scene):
    scene.copies.discard(scene.key)

    for after in (0, KEEP_SECONDS, 0, LOOKUP_SECONDS):
        scene.look(None, after=after)

    assert scene.held == [0, 1, 2, 3]


@pytest.mark.parametrize("publish", ["import", "patch"])
def test_a_copy_that_somebody_publishes_here_is_not_the_nodes_to_take_away_any_more(scene, publish):
    if publish == "import":
        write_table(scene.root.path, "rows", ROWS)
    else:
        write_table(scene.root.path, "rows", np.concatenate([ROWS[:1] ^ 1, ROWS[1:]]))
        patch_table(scene.root.path, "rows", [0], ROWS[:1])

    for after in (0, KEEP_SECONDS, 0, LOOKUP_SECONDS):
        scene.look(None, after=after)

    assert scene.root.current_version("rows") == scene.key.version
    assert scene.held == [0, 1, 2, 3]
    assert scene.key not in Copies(scene.root.path)


def test_a_version_that_is_being_copied_is_left_alone(scene):
    for after in (0, KEEP_SECONDS):
        scene.look(None, after=after, under_way={scene.key})

    assert scene.held == [0, 1, 2, 3]


def test_while_another_writes_to_the_data_root_a_version_waits_for_its_removal(scene):
    for after in (0, KEEP_SECONDS, 0):
        scene.look(None, after=after)
    with root_writer(scene.root.path):
        scene.look(None, after=LOOKUP_SECONDS)
        assert scene.root.versions("rows") == [scene.key.version]

    scene.look(None, after=0)

    assert scene.root.table_names() == []


def test_what_is_not_wanted_goes_at_once_where_the_disk_has_no_room_for_what_is_to_come(scene):
    assert not scene.look(FIRST_TWO, after=0, to_come=1000)
    assert not scene.makes_room

    assert scene.look(FIRST_TWO, after=0, to_come=1001)
    assert (scene.held, scene.makes_room) == ([0, 1], True)
    scene.look(FIRST_TWO, after=0, to_come=1001)
    assert scene.makes_room

    scene.look(FIRST_TWO, after=LOOKUP_SECONDS, to_come=1001)
    scene.look(FIRST_TWO, after=0, to_come=1001)
    assert not scene.makes_room  # there is nothing left to give


def test_the_disk_space_of_a_file_that_two_versions_share_comes_back_when_one_of_them_is_gone(scene, tmp_path):
    patched = ROWS.copy()
    patched[0] ^= 1
    write_table(tmp_path / "next", "rows", patched)
    next_manifest = manifest_of(tmp_path / "next", "rows")
    make_part(scene.root.path, "rows", patched, next_manifest, [0])
    whole = scene.disk_bytes

    scene.look(FIRST_TWO, after=0)
    scene.look(FIRST_TWO, after=KEEP_SECONDS)
    scene.look(FIRST_TWO, after=0)
    scene.look(FIRST_TWO, after=LOOKUP_SECONDS)
    assert (scene.held, scene.disk_bytes) == ([0, 1], whole)
    with root_writer(scene.root.path) as writer:
        writer.drop("rows", next_manifest.version)
    scene.look(FIRST_TWO, after=1)

    assert scene.disk_bytes < 0.6 * whole


def test_room_that_somebody_elses_work_keeps_is_not_waited_for_long(scene):
    scene.look(None, after=0, to_come=1001)
    with root_writer(scene.root.path):
        scene.look(None, after=0, to_come=1001)
        scene.look(None, after=2 * LOOKUP_SECONDS, to_come=1001)
        assert scene.makes_room

        scene.look(None, after=1, to_come=1001)

        assert scene.root.versions("rows") == [scene.key.version]
        assert not scene.makes_room
