"""Shards copied a few at a time, again after a pause if they failed, by a clock that the tests set."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from support.http_root import http_root
from support.parts import manifest_of
from support.rows import random_rows
from support.tables import write_table

from engram_store.shard_map import VersionKey
from store_server.access.allowed_sources import AllowedSources
from store_server.cluster.blocks.copy_sources import CopySources
from store_server.cluster.holdings.copies import Copies
from store_server.cluster.holdings.fetching import Fetching
from store_server.cluster.holdings.wanted import WantedShard
from store_server.storage import DataRoot, StorageFailure, TableNotFound
from store_server.storage.held_blocks import held_blocks

BLOCK_ROWS, NUM_BLOCKS = 8, 4
ROWS = random_rows(BLOCK_ROWS * NUM_BLOCKS, 1 << 17)
SECONDS = 60


@pytest.fixture
def origin(tmp_path):
    write_table(tmp_path / "origin", "rows", ROWS)
    return tmp_path / "origin"


class Scene:
    """A data root without the version, and what fetches it; each end of a copy is waited for."""

    def __init__(self, path, key):
        (path / "tables").mkdir(parents=True)
        self.root, self.key = DataRoot.open(path), key
        self.seconds = 0.0
        self.disk_failures = []
        self._ended = threading.Semaphore(0)
        self.fetching = Fetching(
            self.root,
            Copies(path),
            done=self._ended.release,
            disk_failed=self.disk_failures.append,
            bytes_per_second=None,
            sources=CopySources(allowed=AllowedSources.parse(["file:///", "grpc://"])),
            now=lambda: self.seconds,
        )

    def shards(self, *sources):
        """A shard for each block."""
        return [
            WantedShard(key=self.key, number=number, first=number, end=number + 1, sources=sources)
            for number in range(NUM_BLOCKS)
        ]

    def wait(self, copies):
        for _ in range(copies):
            assert self._ended.acquire(timeout=SECONDS)

    def ends_within(self, seconds):
        return self._ended.acquire(timeout=seconds)

    def ends_nothing_more(self):
        return not self._ended.acquire(blocking=False)

    @property
    def held(self):
        try:
            return np.flatnonzero(held_blocks(self.root.stored_version(*self.key))).tolist()
        except TableNotFound:
            return []


@pytest.fixture
def scene(tmp_path, origin):
    scene = Scene(tmp_path / "root", VersionKey("rows", manifest_of(origin, "rows").version))
    yield scene
    scene.fetching.close()


def test_a_version_arrives_with_one_shard_and_then_three_are_copied_at_a_time(scene, origin):
    shards = scene.shards(origin.as_uri())

    scene.fetching.fetch(shards, ())
    scene.wait(1)
    assert (scene.held, scene.ends_nothing_more()) == ([0], True)
    assert scene.key in Copies(scene.root.path)

    scene.fetching.fetch(shards[1:], {scene.key})
    scene.wait(3)
    assert scene.held == [0, 1, 2, 3]


def test_a_shard_that_failed_waits_longer_each_time_and_not_at_all_for_other_sources(scene, origin, tmp_path):
    nowhere = scene.shards((tmp_path / "nowhere").as_uri())[:1]
    scene.fetching.fetch(nowhere, ())
    scene.wait(1)
    for pause in (0.5, 1.0, 2.0):
        scene.seconds += pause - 0.01
        scene.fetching.fetch(nowhere, ())
        assert scene.ends_nothing_more()
        assert not scene.fetching.under_way
        scene.seconds += 0.01
        scene.fetching.fetch(nowhere, ())
        scene.wait(1)

    scene.fetching.fetch(scene.shards(origin.as_uri())[:1], ())
    scene.wait(1)
    assert scene.held == [0]


def test_a_disk_that_fails_shard_after_shard_is_told_and_a_source_that_fails_is_not(scene, origin, tmp_path):
    (scene.root.path / "incoming").write_bytes(b"no directory can be made here")
    shards = scene.shards(origin.as_uri())[:1]
    for times in range(1, 4):
        assert scene.disk_failures == []
        scene.fetching.fetch(shards, ())
        scene.wait(1)
        scene.fetching.fetch(shards, ())
        scene.seconds += 10.0 * times
    assert [type(error) for error in scene.disk_failures] == [StorageFailure]

    (scene.root.path / "incoming").unlink()
    nowhere = scene.shards((tmp_path / "nowhere").as_uri())[:1]
    for _ in range(5):
        scene.fetching.fetch(nowhere, ())
        scene.wait(1)
        scene.fetching.fetch(nowhere, ())
        scene.seconds += 100.0
    assert len(scene.disk_failures) == 1


@pytest.mark.parametrize("unusable", ["grpc://10.0.0.7", "grpc://10.0.0.7:http", "ftp://nowhere"])
def test_a_shard_is_copied_from_a_good_source_behind_one_that_no_source_can_be_made_of(scene, origin, unusable):
    scene.fetching.fetch(scene.shards(unusable, origin.as_uri())[:1], ())

    scene.wait(1)
    assert scene.held == [0]


def test_a_table_that_cannot_have_its_name_keeps_no_other_shard_from_being_copied(scene, origin):
    misnamed = WantedShard(key=VersionKey("../t", "1"), number=0, first=0, end=1, sources=(origin.as_uri(),))

    scene.fetching.fetch([misnamed, *scene.shards(origin.as_uri())], ())
    scene.wait(1)
    assert scene.held == [0]
    assert misnamed.key not in Copies(scene.root.path)


def test_a_source_of_which_no_source_can_be_made_is_a_failure_like_any_other(scene):
    scene.fetching.fetch(scene.shards("ftp://nowhere"), ())

    scene.wait(1)
    scene.fetching.fetch([], ())
    assert not scene.fetching.under_way


def test_a_copy_that_waits_for_a_silent_source_ends_when_all_are_to_stop(scene, origin):
    """The server is silent for a minute, and the source's own limit is 20 seconds."""
    with http_root(origin, "answers_nothing", "table.json") as url:
        scene.fetching.fetch(scene.shards(url)[:1], ())
        scene.fetching.close()

        assert scene.ends_within(10)


AN_END = """
import sys
from pathlib import Path
from store_server.access.allowed_sources import AllowedSources
from store_server.cluster.blocks.copy_sources import CopySources
from store_server.cluster.holdings.copies import Copies
from store_server.cluster.holdings.fetching import Fetching
from store_server.cluster.holdings.wanted import WantedShard
from store_server.storage import DataRoot
from engram_store.shard_map import VersionKey
root, source = map(Path, sys.argv[1:])
how = dict(done=lambda: None, disk_failed=lambda _: None, bytes_per_second=None)
how["sources"] = CopySources(allowed=AllowedSources.parse(["file:///"]))
fetching = Fetching(DataRoot.open(root), Copies(root), **how)
shard = WantedShard(key=VersionKey("t", "0" * 32), number=0, first=0, end=1, sources=(source.as_uri(),))
fetching.fetch([shard], ())
fetching.close()
print("closed")
"""


def test_a_copy_that_nothing_can_wake_does_not_keep_a_process_from_ending(tmp_path):
    """A pipe that nobody writes to stands for a disk that is away."""
    manifest = tmp_path / "source" / "tables" / "t" / "versions" / ("0" * 32) / "table.json"
    manifest.parent.mkdir(parents=True)
    os.mkfifo(manifest)
    (tmp_path / "root" / "tables").mkdir(parents=True)

    command = [sys.executable, "-c", AN_END, tmp_path / "root", tmp_path / "source"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "closed\n", "")
