"""What a node says that it holds."""

import json

from support.rows import random_rows
from support.tables import write_table

from engram_store.shard_map import VersionKey
from store_server.cluster.holdings.own_holdings import OwnHoldings
from store_server.storage import DataRoot
from store_server.storage.data_root import PlacedVersion
from store_server.storage.version_quarantine import put_in_quarantine

ROWS = random_rows(10, 1 << 20)


def test_whole_versions_parts_and_their_bytes(tmp_path):
    whole, part = (VersionKey(name, write_table(tmp_path, name, ROWS)) for name in ("whole", "part"))
    root = DataRoot.open(tmp_path)
    holdings = OwnHoldings(root)
    manifest = root.manifest(*part)
    blocks = manifest.num_blocks

    assert blocks >= 3
    assert holdings()[:2] == ({whole: ((0, blocks),), part: ((0, blocks),)}, 2 * ROWS.nbytes)

    held = root.version_path(*part) / "held.json"
    held.write_text(json.dumps({"format": 1, "blocks": [[0, 1], [2, 3]]}))
    held_rows = sum(manifest.rows_in_block(block) for block in (0, 2))

    assert holdings()[:2] == ({whole: ((0, blocks),), part: ((0, 1), (2, 3))}, ROWS.nbytes + held_rows * ROWS.shape[1])


def test_a_version_that_cannot_be_read_is_left_out_and_one_that_is_mended_comes_back(tmp_path):
    good, bad = (VersionKey(name, write_table(tmp_path, name, ROWS)) for name in ("good", "bad"))
    root = DataRoot.open(tmp_path)
    manifest = root.version_path(*bad) / "table.json"
    text = manifest.read_text()
    manifest.write_text("{")
    holdings = OwnHoldings(root)

    assert set(holdings().blocks) == {good}

    manifest.write_text(text)

    assert set(holdings().blocks) == {good, bad}


def test_a_version_that_was_dropped_is_held_no_more(tmp_path):
    key = VersionKey("t", write_table(tmp_path, "t", ROWS))
    root = DataRoot.open(tmp_path)
    holdings = OwnHoldings(root)

    assert set(holdings().blocks) == {key}

    root.table_path("t").rename(tmp_path / "away")

    assert holdings()[:2] == ({}, 0)


def test_a_table_of_which_it_cannot_be_read_what_is_current_is_left_out_and_no_other(tmp_path):
    good, bad = (VersionKey(name, write_table(tmp_path, name, ROWS)) for name in ("good", "bad"))
    root = DataRoot.open(tmp_path)
    current = root.table_path("bad") / "CURRENT"
    current.write_bytes(b"\0" * 33)
    holdings = OwnHoldings(root)

    assert set(holdings().blocks) == {good}

    current.write_text(bad.version)

    assert set(holdings().blocks) == {good, bad}


def test_a_version_in_quarantine_takes_its_room_and_is_neither_told_of_nor_mended(tmp_path):
    version = write_table(tmp_path, "t", ROWS)
    root = DataRoot.open(tmp_path)
    put_in_quarantine(root, PlacedVersion("t", version, root.place("t", version)), "it ended two workers")
    holdings = OwnHoldings(root)

    assert holdings()[:2] == ({}, ROWS.nbytes)
    assert holdings.damaged == set()
    assert holdings.stored(VersionKey("t", version)) is not None
