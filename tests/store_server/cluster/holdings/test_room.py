"""How much a node promises to hold when its disk takes nothing, by a clock that the tests set."""

import pytest

from store_server.cluster.holdings.room import Room
from store_server.cluster.holdings.root_disk import RootDisk
from store_server.storage import DiskFull, RootNotWritable

STATED = 1000
LONG = 100_000.0


class Scene:
    """A data root below which nothing can be written while `cluster` is a file and no directory."""

    def __init__(self, path, stated=STATED):
        self.seconds = 0.0
        self.path = path
        self.room = Room(RootDisk(path), stated, now=lambda: self.seconds)
        self.room.measure(0)

    def break_disk(self):
        (self.path / "cluster").write_bytes(b"")

    def mend_disk(self):
        (self.path / "cluster").unlink()

    def fail(self, kind=RootNotWritable):
        self.room.failed(DiskFull(self.path, 7, 0) if kind is DiskFull else kind(self.path, "says the disk"))

    def look(self, held_bytes=300, kept_bytes=200, makes_room=False):
        return self.room.look(held_bytes=held_bytes, kept_bytes=kept_bytes, makes_room=makes_room)

    def seconds_until(self, is_so):
        began = self.seconds
        while not is_so():
            self.seconds += 1.0
            self.look()
        return self.seconds - began

    @property
    def promised(self):
        return self.room.limited(STATED)


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def test_a_node_that_could_not_write_promises_what_it_has_until_it_can_write_again(scene):
    scene.break_disk()
    scene.fail()
    assert scene.room.failure == ""
    assert (scene.promised, scene.look(), scene.promised) == (STATED, True, 200)
    assert scene.room.failure == f"cannot write to data root {scene.path}: says the disk"
    assert not scene.look()

    for _ in range(3):
        scene.seconds += LONG
        assert not scene.look()
    assert scene.promised == 200

    scene.mend_disk()
    scene.seconds += LONG
    assert (scene.look(), scene.promised) == (True, STATED)


def test_a_node_that_fails_again_soon_after_it_could_write_waits_longer(scene):
    pauses = []
    for _ in range(3):
        scene.fail()
        scene.look()
        pauses.append(scene.seconds_until(lambda: scene.promised == STATED))

    scene.seconds += LONG
    scene.fail()
    scene.look()

    assert pauses[1] > 1.5 * pauses[0]
    assert pauses[2] > 1.5 * pauses[1]
    assert scene.seconds_until(lambda: scene.promised == STATED) == pauses[0]


def test_what_fails_while_less_is_promised_changes_the_promise_and_not_when_the_disk_is_tried(scene):
    scene.fail()
    scene.look()
    pause = scene.seconds_until(lambda: scene.promised == STATED)
    scene.seconds += LONG
    scene.fail()
    scene.look()

    for _ in range(int(pause / 10)):
        scene.seconds += 9.0
        scene.fail()
        scene.look(kept_bytes=150)
        assert scene.promised == 150
    assert scene.seconds_until(lambda: scene.promised == STATED) <= pause


@pytest.mark.parametrize(("kind", "promised"), [(DiskFull, STATED), (RootNotWritable, 200)])
def test_a_full_disk_is_no_failure_while_room_is_made_on_it(scene, kind, promised):
    scene.fail(kind)
    scene.look(makes_room=True)
    assert scene.promised == promised

    scene.look()
    assert scene.promised == promised


def test_after_a_full_disk_a_node_that_states_nothing_promises_what_its_disk_has_room_for(tmp_path):
    scene = Scene(tmp_path, stated=0)
    assert scene.room.limited(0) == 0
    scene.fail(DiskFull)
    scene.look()
    assert scene.room.limited(0) == 200

    scene.seconds += LONG
    scene.look()

    assert scene.room.limited(0) > STATED
