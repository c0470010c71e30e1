"""Versions published to real nodes by the command line, taken back, forgotten, refused and interrupted."""

import asyncio
import contextlib
import itertools
import re
import signal
from pathlib import Path
from typing import NamedTuple

import pytest
from support.etcd import needs_etcd
from support.http_root import http_root
from support.set_of_versions import (
    NUM_ROWS,
    NUM_TABLES,
    ROW_BYTES,
    SECONDS,
    number_read,
    opened,
    reads,
    rows_of,
    write_versions,
)
from support.tables import write_table

import engram_client
from store_server.commands import main

pytestmark = needs_etcd
BYTES_OF_A_SET = NUM_TABLES * NUM_ROWS * ROW_BYTES
REPLICAS = 2


@pytest.fixture
def publish(run, published, root):
    """Publish tables of `root`: a set and its tables, and options."""

    def publish(set_name, *arguments):
        return run("publish", root, *arguments, "--cluster", published.url, "--set", set_name)

    return publish


@contextlib.asynccontextmanager
async def read_all_the_time(tables):
    """Read a set, row by row, over and over as long as the block lasts. A failure comes out of the block."""

    async def read():
        for row in itertools.cycle(range(NUM_ROWS)):
            await number_read(tables, [row])
            await asyncio.sleep(0.05)

    reading = asyncio.create_task(read())
    try:
        yield
    finally:
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading


def lines_of(shown):
    """Return the columns of each line that `cluster` has shown."""
    return [re.split(" {2,}", line) for line in shown.splitlines()]


def versions_in_map(cluster, table):
    return {key.version for key in cluster.map_when(lambda _: True).versions if key.table == table}


async def test_old_versions_stay_while_they_are_read_and_only_the_current_one_is_left_in_the_end(
    published, publish, root, run
):
    async def next_version(number):
        versions = await asyncio.to_thread(write_versions, root, "a", number)
        done = await asyncio.to_thread(publish, "set-a", *versions)
        assert (done.status, done.err) == (0, done.err)
        assert [line.split()[:4] for line in done.out.splitlines()] == [
            ["current", "set-a", table, version] for table, version in versions.items()
        ]
        return versions["a/1"]

    async def command(name):
        return await asyncio.to_thread(run, name, "--cluster", published.url, "--set", "set-a")

    async def until_in_map(*versions):
        await asyncio.to_thread(published.until, lambda: versions_in_map(published, "a/1") == set(versions))

    bytes_before = sum((await asyncio.to_thread(lambda: published.bytes_used)).values())
    first = await next_version(1)
    async with engram_client.connect(published.grpc_url, timeout=SECONDS) as store:
        tables = await opened(store, "set-a")
        async with read_all_the_time(tables):
            second, third = await next_version(2), await next_version(3)
            assert await reads(published.grpc_url, "set-a", 3)
            assert (await command("rollback")).status == 0
            assert await reads(published.grpc_url, "set-a", 2)
            await until_in_map(first, second, third)

            forgotten = (await command("forget")).out.splitlines()
            assert f"forgotten  set-a  a/1  {third}" in forgotten
            await until_in_map(first, second)  # nobody reads the third one, which was named for longer
            shown = lines_of((await asyncio.to_thread(run, "cluster", published.url)).out)
            (of_first,) = [line for line in shown if line[:3] == ["version", "a/1", first]]
            assert of_first[-1].endswith(", 0 are being copied, retired")
            assert await number_read(tables) == 1

        await until_in_map(second)
        refused = await refusal(store, tables)
        assert "no longer has version " in refused
        assert refused.endswith("refresh() moves to the current one")
        await tables.refresh()
        assert await number_read(tables) == 2

    await asyncio.to_thread(
        published.until, lambda: sum(published.bytes_used.values()) - bytes_before == REPLICAS * BYTES_OF_A_SET
    )
    shown = lines_of((await asyncio.to_thread(run, "cluster", published.url)).out)
    assert ["set", "set-a", "current", "a/1", second] in shown
    (of_second,) = [line for line in shown if line[:3] == ["version", "a/1", second]]
    assert of_second[-1] == (
        "4 shards, 0 have fewer than 2 living copies, 0 lack replicas in the map, 0 are being copied"
    )


async def refusal(store, tables):
    """Read with newer and newer maps until that fails; returns why."""
    async with asyncio.timeout(SECONDS):
        while True:
            await store.tables()
            try:
                await number_read(tables)
            except engram_client.VersionNotFound as error:
                return str(error)


@pytest.fixture(scope="module")
def kept(published, tmp_path_factory):
    """A set that is published once: its data root, its versions by table, and `read`, which finds them unharmed."""
    root = tmp_path_factory.mktemp("kept") / "root"
    versions = write_versions(root, "kept", 1)
    arguments = ("publish", root, *versions, "--cluster", published.url, "--set", "kept")
    assert main([str(argument) for argument in arguments]) == 0
    return Kept(root, versions)


class Kept(NamedTuple):
    root: Path
    versions: dict[str, str]

    def is_current_in(self, cluster):
        found = cluster.map_when(lambda _: True)
        return found.sets["kept"].current == self.versions and not found.sets["kept"].pending


async def test_more_replicas_are_made_and_taken_back_while_rows_are_read(published, run, kept):
    def holders(found):
        shards = [shard for version in found.versions.values() for shard in version.shards]
        return {len(shard.holders) for shard in shards} if not any(shard.joining for shard in shards) else set()

    def publish(replicas):
        arguments = ("--cluster", published.url, "--set", "kept", "--replicas", replicas)
        return run("publish", kept.root, *kept.versions, *arguments)

    async with (
        engram_client.connect(published.grpc_url, timeout=SECONDS) as store,
        read_all_the_time(await opened(store, "kept")),
    ):
        for replicas in (3, REPLICAS):
            done = await asyncio.to_thread(publish, replicas)
            assert done.status == 0, done.err
            assert done.out.endswith("unchanged: these versions are already current\n")
            await asyncio.to_thread(published.map_when, lambda found, number=replicas: holders(found) == {number})


def test_what_cannot_be_published_is_refused_in_one_line_and_nothing_changes(
    published, publish, root, run, kept, tmp_path
):
    write_versions(root, "kept", 2)
    write_table(root, "kept/1", rows_of(1, 2, row_bytes=ROW_BYTES // 2))

    assert "row_bytes 1048576, version" in publish("kept", "kept/1").error
    assert "table 'kept/2' belongs to the set 'kept'" in publish("other", "kept/2").error
    refused = publish("kept", "kept/2", "--replicas", "4")
    assert "4 replicas need as many nodes, and 3 are alive" in refused.error
    assert len(refused.err.splitlines()) == 1  # no progress bar
    assert "table 'kept/2' is given twice" in publish("kept", "kept/2", "kept/2").error
    assert "no node is registered in cluster 'tri' in etcd at " in run("cluster", f"{published.url[:-4]}tri").error
    assert "is no source of blocks" in publish("kept", "kept/1", "--source", "ftp://x").error
    for command in ("rollback", "forget"):
        assert "has no previous versions" in run(command, "--cluster", published.url, "--set", "kept").error
        assert "no set 'none'" in run(command, "--cluster", published.url, "--set", "none").error
        file_url = (tmp_path / "map.json").as_uri()
        assert "the map of this cluster is a file" in run(command, "--cluster", file_url, "--set", "kept").error
    assert kept.is_current_in(published)
    assert "other" not in published.map_when(lambda _: True).sets


@pytest.mark.parametrize("unruly", ["truncates", "changes_a_bit"])
def test_a_source_of_wrong_bytes_makes_nothing_current(published, publish, root, kept, unruly):
    write_versions(root, "kept", 3)

    with http_root(root, unruly) as url:
        failed = publish("kept", *kept.versions, "--source", url, "--timeout", "1")

    assert "so the old ones stay" in failed.error
    assert kept.is_current_in(published)
    assert asyncio.run(reads(published.grpc_url, "kept", 1))


def test_an_unpublished_table_and_then_the_whole_set_leave_the_cluster_and_the_nodes_disks(
    published, publish, root, run, kept
):
    versions = write_versions(root, "gone", 1)
    before = sum(published.bytes_used.values())
    assert publish("gone", *versions).status == 0

    def unpublish(*arguments):
        return run("unpublish", *arguments, "--cluster", published.url)

    def lines_of(table):
        num_bytes = REPLICAS * BYTES_OF_A_SET // NUM_TABLES
        return f"unpublished  gone  {table}  {versions[table]}  {num_bytes:,} bytes on nodes\n"

    assert "name a TABLE of gone, or give --all" in unpublish("gone").error
    assert "name a TABLE of gone, or give --all" in unpublish("gone", "gone/1", "--all").error
    assert "the cluster has no set 'none', it has " in unpublish("none", "--all").error
    assert "set 'gone' has no table 'kept/1', it has gone/1, gone/2" in unpublish("gone", "kept/1").error
    assert unpublish("gone", "gone/1").out == lines_of("gone/1")
    assert published.map_when(lambda _: True).sets["gone"].current == {"gone/2": versions["gone/2"]}
    assert unpublish("gone", "--all").out == lines_of("gone/2")

    assert "gone" not in published.map_when(lambda _: True).sets
    published.until(lambda: published.blocks_held(versions) == 0)
    published.until(lambda: sum(published.bytes_used.values()) <= before)
    assert kept.is_current_in(published)


def test_a_publisher_that_is_told_to_stop_takes_back_what_it_began(published, root, kept):
    after = write_versions(root, "kept", 4)

    process = published.begin_publish(root, *after, "--set", "kept")
    published.map_when(lambda found: bool(found.sets["kept"].pending))
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=SECONDS)

    assert process.returncode == 128 + signal.SIGTERM, out
    assert kept.is_current_in(published)
