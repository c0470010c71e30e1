"""A shard map that says of a version what its manifest does not."""

from dataclasses import replace

import pytest
from structlog.testing import capture_logs
from support.rows import random_rows
from support.shard_maps import later, shard_map_of
from support.tables import write_table

from engram_store.shard_map import Shard
from store_server.cluster.holdings.map_against_disk import MapAgainstDisk
from store_server.storage import DataRoot

ROWS = random_rows(100, 16)


@pytest.fixture
def scene(tmp_path):
    """A data root, and what a map says rightly of its version."""
    version = write_table(tmp_path, "layer-1", ROWS)
    root = DataRoot.open(tmp_path)
    manifest = root.manifest("layer-1", version)
    known = shard_map_of()
    right = replace(
        next(iter(known.versions.values())),
        version=version,
        block_rows=manifest.block_rows,
        row_format=manifest.row_format,
        fingerprint=manifest.fingerprint,
    )
    return MapAgainstDisk(root), later(known, versions={right.key: right}, sets={}), right


def said_of(watch, *maps):
    with capture_logs() as logs:
        for shard_map in maps:
            watch.look(shard_map)
    return [log["event"] for log in logs]


def with_(shard_map, version, **changes):
    return later(shard_map, versions={version.key: replace(version, **changes)})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"row_bytes": 8}, "its row_bytes is 16, not 8"),
        ({"num_rows": 99, "shards": (Shard(end_row=99, holders=(0,)),)}, "its num_rows is 100, not 99"),
        ({"block_rows": 7}, "its block_rows is "),
        ({"row_format": "float64"}, ", not 'float64'; correct the map"),
        ({"fingerprint": "other"}, ", not 'other'; correct the map"),
    ],
)
def test_what_the_map_says_wrongly_is_said_once_and_again_when_it_is_said_anew(scene, changes, said):
    watch, right_map, right = scene
    wrong = with_(right_map, right, **changes)

    assert said_of(watch, right_map) == []
    (once,) = said_of(watch, wrong, later(wrong))
    assert said in once
    assert len(said_of(watch, right_map, wrong)) == 1


def test_a_version_that_is_not_there_yet_is_compared_when_it_is(scene, tmp_path):
    _, right_map, right = scene
    wrong = with_(right_map, right, row_bytes=8)
    watch = MapAgainstDisk(DataRoot.open(tmp_path))
    directory = tmp_path / "tables" / "layer-1"
    directory.rename(tmp_path / "elsewhere")
    assert said_of(watch, wrong) == []

    (tmp_path / "elsewhere").rename(directory)

    assert len(said_of(watch, wrong)) == 1
