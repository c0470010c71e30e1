"""Bad blocks are found, never served once found, and brought back."""

import os
import threading

import numpy as np
import pytest
from support.checkpoints import attach_rows
from support.parts import make_part, manifest_of
from support.rows import random_rows
from support.tables import write_table

from store_server.catalog import Catalog
from store_server.cluster.blocks.block_source import FileSource
from store_server.cluster.blocks.copying import copy_blocks
from store_server.cluster.blocks.pace import Pace
from store_server.cluster.holdings.scrub import BadBlock, NotWanted, Scrub
from store_server.config import ServerConfig
from store_server.storage import DataRoot, RowsNotHeld, verify
from store_server.storage.held_blocks import held_blocks

BLOCK_ROWS = 4_095
ROWS = random_rows(3 * BLOCK_ROWS + 5, 264)
NO_LIMIT = 1e12
BAD_ROW = BLOCK_ROWS + 7


def flip_a_bit(root, row=BAD_ROW):
    """Flip one bit of a row, leaving the file's size and time as they were; returns what the file was before."""
    path = next(root.glob("tables/t/versions/*/rows.*"))
    status, before = path.stat(), path.read_bytes()
    place = before.index(ROWS[row].tobytes()) + 100
    with path.open("r+b") as file:
        file.seek(place)
        file.write(bytes([before[place] ^ 0x10]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return path, before


class ServedRoot:
    """A data root that is served while it is scrubbed, as one of several processes would serve it."""

    def __init__(self, root, repair):
        self.root = DataRoot.open(root)
        self.catalog = Catalog(self.root, ServerConfig(root=root))
        self.catalog.reload()
        self.scrub = Scrub(self.root, NO_LIMIT, changed=lambda: None, repair=repair)

    def row(self, row):
        out = np.empty((1, 264), np.uint8)
        self.catalog.find("t", "").backend.gather(np.array([row]), out)
        return out[0]


@pytest.fixture
def replica(tmp_path):
    write_table(tmp_path / "replica", "t", ROWS)
    return tmp_path / "replica"


def test_a_bad_block_that_two_versions_share_leaves_both_at_once_and_both_get_it_back(tmp_path, replica):
    root, patched = tmp_path / "root", ROWS.copy()
    patched[0] ^= 1
    write_table(root, "t", ROWS)
    write_table(replica, "t", patched)
    new = manifest_of(replica, "t")
    copy_blocks(DataRoot.open(root), "t", new.version, None, [FileSource(replica)])
    flip_a_bit(root)
    repaired = []

    def repair(bad):
        if not repaired:
            assert not held_blocks(scrub_root.stored_version("t", new.version))[1]
            assert not held_blocks(scrub_root.stored_version("t", manifest_of(root, "t").version))[1]
        repaired.append(bad.version)
        copy_blocks(DataRoot.open(root), bad.table, bad.version, [(1, 2)], [FileSource(replica)])

    scrub_root = DataRoot.open(root)
    Scrub(scrub_root, NO_LIMIT, changed=lambda: None, repair=repair).read_all(threading.Event())

    assert sorted(repaired) == sorted(scrub_root.versions("t"))
    for version in scrub_root.versions("t"):
        list(verify(scrub_root, "t", version))
        assert held_blocks(scrub_root.stored_version("t", version)).all()


@pytest.mark.parametrize("held", ["whole", "lmdb", "part"])
def test_a_flipped_bit_is_found_not_served_once_found_and_repaired_from_a_replica(tmp_path, replica, held):
    root = tmp_path / "root"
    if held == "part":
        make_part(root, "t", ROWS, manifest_of(replica, "t"), [1, 3])
    else:
        write_table(root, "t", ROWS, backend="lmdb" if held == "lmdb" else "mmap")
    path, before = flip_a_bit(root)
    refused = []

    def repair(bad):
        with pytest.raises(RowsNotHeld):
            served.row(BAD_ROW)
        refused.append(bad)
        wanted = [(bad.block, bad.block + 1)]
        copy_blocks(DataRoot.open(root), bad.table, bad.version, wanted, [FileSource(replica)])

    served = ServedRoot(root, repair)
    assert not np.array_equal(served.row(BAD_ROW), ROWS[BAD_ROW])
    served.scrub.read_all(threading.Event())

    assert refused == [BadBlock("t", manifest_of(root, "t").version, 1)]
    assert np.array_equal(served.row(BAD_ROW), ROWS[BAD_ROW])
    assert path.read_bytes() == before
    scrub = served.scrub
    assert (scrub.blocks_read, scrub.blocks_bad, scrub.blocks_repaired) == (2 if held == "part" else 4, 1, 1)
    assert not scrub.quarantined
    served.catalog.close()


def test_a_block_that_cannot_be_repaired_stays_out_and_is_tried_again_after_a_round(tmp_path, replica):
    flip_a_bit(replica)
    asked = []

    def repair(bad):
        asked.append(bad)
        if len(asked) < 3:
            raise OSError("no replica answers")

    served = ServedRoot(replica, repair)
    for _ in range(2):
        served.scrub.read_all(threading.Event())
        with pytest.raises(RowsNotHeld):
            served.row(BAD_ROW)
    assert np.array_equal(served.row(0), ROWS[0])
    assert (served.scrub.blocks_bad, len(served.scrub.quarantined)) == (1, 1)
    served.scrub.read_all(threading.Event())

    assert len(asked) == 3
    assert not served.scrub.quarantined
    served.catalog.close()


def test_a_block_that_nobody_is_to_hold_any_more_stays_out_and_is_asked_for_once(replica):
    asked = []

    def repair(bad):
        asked.append(bad)
        raise NotWanted

    flip_a_bit(replica)
    served = ServedRoot(replica, repair)
    for _ in range(2):
        served.scrub.read_all(threading.Event())

    assert len(asked) == 1
    assert not served.scrub.quarantined
    with pytest.raises(RowsNotHeld):
        served.row(BAD_ROW)
    served.catalog.close()


def test_a_node_that_starts_again_still_refuses_what_was_found(tmp_path, replica):
    def repair(bad):
        raise OSError("no replica answers")

    flip_a_bit(replica)
    ServedRoot(replica, repair).scrub.read_all(threading.Event())

    served = ServedRoot(replica, repair)

    with pytest.raises(RowsNotHeld):
        served.row(BAD_ROW)
    served.catalog.close()


def test_attached_versions_are_read_once_they_have_digests(tmp_path):
    root = tmp_path / "root"
    version = attach_rows(root, "t", ROWS)
    scrub = Scrub(DataRoot.open(root), NO_LIMIT, changed=lambda: None, repair=lambda _: None)
    scrub.read_all(threading.Event())
    read_before = scrub.blocks_read
    list(verify(DataRoot.open(root), "t", version))
    scrub.read_all(threading.Event())

    assert (read_before, scrub.blocks_read) == (0, 4)


def test_who_read_a_sound_block_as_bad_takes_nothing_out(replica):
    """It may have been repaired since."""
    root = DataRoot.open(replica)
    scrub = Scrub(root, NO_LIMIT, changed=lambda: None, repair=lambda _: None)
    stored = root.stored_version("t", manifest_of(replica, "t").version)

    scrub.note_bad(stored, 1)

    assert held_blocks(stored).all()
    assert scrub.blocks_bad == 0


@pytest.mark.parametrize("damaged", ["versions/*/table.json", "CURRENT"])
def test_a_damaged_version_keeps_no_other_from_being_read(replica, damaged):
    write_table(replica, "a", random_rows(10, 16))
    next((replica / "tables" / "a").glob(damaged)).write_text("{")
    scrub = Scrub(DataRoot.open(replica), NO_LIMIT, changed=lambda: None, repair=lambda _: None)

    scrub.read_all(threading.Event())

    assert scrub.blocks_read == 4


def test_a_scrub_that_waits_stops_at_once(replica):
    """At this rate the next block comes in an hour."""
    has_read, stop = threading.Event(), threading.Event()
    flip_a_bit(replica, row=0)
    scrub = Scrub(DataRoot.open(replica), BLOCK_ROWS * 264 / 3600, changed=has_read.set, repair=lambda _: None)
    thread = threading.Thread(target=scrub.run, args=[stop])
    thread.start()
    assert has_read.wait(20)

    stop.set()
    thread.join(20)

    assert not thread.is_alive()
    assert scrub.blocks_read == 1


class Waits(threading.Event):
    """Notes how long it is waited for, and waits for nothing."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def wait(self, timeout=None):
        self.waits.append(timeout)
        return self.is_set()


def test_a_pace_waits_as_long_as_the_bytes_may_take_and_catches_up_a_second_at_most():
    clock, stop = [0.0], Waits()
    pace = Pace(100.0, now=lambda: clock[0])

    pace.wait(200, stop)
    clock[0] = 1.0  # it took a second to move them
    pace.wait(100, stop)
    clock[0] = 100.0
    pace.wait(300, stop)

    assert stop.waits == pytest.approx([2.0, 2.0, 2.0])


def test_a_pace_of_nothing_a_second_is_refused():
    with pytest.raises(ValueError, match="bytes_per_second must be above 0, got 0"):
        Pace(0)
