"""Versions published to real nodes by the command line, taken back, refused and interrupted."""

import asyncio
import contextlib
import signal

import numpy as np
import pytest
from support.etcd import needs_etcd
from support.http_root import http_root
from support.published_cluster import published_cluster
from support.tables import write_table

import engram_client
from store_server.storage import DataRoot, TableNotFound, VersionNotFound
from store_server.storage.held_blocks import held_blocks

pytestmark = needs_etcd
# A row carries its table and its version, and there are as many blocks as rows.
ROW_BYTES, NUM_ROWS = 1 << 20, 4
SECONDS = 60


def rows_of(table_number, version_number, row_bytes=ROW_BYTES):
    rows = np.zeros((NUM_ROWS, row_bytes), np.uint8)
    rows[:, 0], rows[:, 1], rows[:, 2] = table_number, version_number, np.arange(NUM_ROWS)
    return rows


def write_versions(root, prefix, number):
    """Make version `number` of the tables 1 and 2 current in a data root; returns versions by table."""
    return {
        name: write_table(root, name, rows_of(table, number))
        for table, name in ((1, f"{prefix}/1"), (2, f"{prefix}/2"))
    }


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with published_cluster(tmp_path_factory.mktemp("cluster"), 2, "--copy-rate", "32MiB") as found:
        yield found


@pytest.fixture
def publish(run, cluster, root):
    """Publish tables of `root`: a set and its tables, and options."""

    def publish(set_name, *arguments):
        return run("publish", root, *arguments, "--cluster", cluster.url, "--set", set_name)

    return publish


def current(cluster, set_name):
    found = cluster.map_when(lambda _: True)
    return dict(found.sets[set_name].current) if set_name in found.sets else {}


async def read_set(cluster, set_name, awaited):
    """What rows say that a client reads of each table of a set: what is `awaited`, as soon as all nodes know of it."""
    url = "grpc://" + ",".join(node.address for node in cluster.nodes)
    async with engram_client.connect(url, timeout=SECONDS) as store:
        tables = await store.table_set(set_name)
        async with asyncio.timeout(SECONDS):
            while True:
                read = {name: (await tables[name].fetch(np.arange(NUM_ROWS)))[:, :3].tolist() for name in tables}
                assert len({row[1] for rows in read.values() for row in rows}) == 1
                if read == awaited:
                    return True
                await asyncio.sleep(0.01)
                await tables.refresh()


def expected(prefix, number):
    return {f"{prefix}/{table}": [[table, number, row] for row in range(NUM_ROWS)] for table in (1, 2)}


async def test_a_set_is_published_again_and_rolled_back_always_whole(cluster, publish, root, run):
    first = await asyncio.to_thread(write_versions, root, "a", 1)
    published = await asyncio.to_thread(publish, "set-a", "a/1", "a/2")

    assert (published.status, published.err) == (0, published.err)
    assert [line.split()[:4] for line in published.out.splitlines()] == [
        ["current", "set-a", table, version] for table, version in first.items()
    ]
    assert await read_set(cluster, "set-a", expected("a", 1))

    await asyncio.to_thread(write_versions, root, "a", 2)
    assert (await asyncio.to_thread(publish, "set-a", "a/1", "a/2")).status == 0
    assert await read_set(cluster, "set-a", expected("a", 2))

    assert (await asyncio.to_thread(run, "rollback", "--cluster", cluster.url, "--set", "set-a")).status == 0
    assert await read_set(cluster, "set-a", expected("a", 1))

    shown = await asyncio.to_thread(run, "cluster", cluster.url)
    assert f"set  set-a  current  a/1  {first['a/1']}" in shown.out.splitlines()
    assert "4 shards, 0 lack replicas, 0 are being copied" in shown.out


def test_what_cannot_be_published_is_refused_in_one_line_and_nothing_changes(cluster, publish, root, run):
    before = write_versions(root, "b", 1)
    assert publish("set-b", "b/1", "b/2").status == 0
    write_table(root, "b/1", rows_of(1, 2, row_bytes=ROW_BYTES // 2))

    assert "row_bytes 1048576, version" in publish("set-b", "b/1").error
    assert "table 'b/2' belongs to the set 'set-b'" in publish("other", "b/2").error
    assert "3 replicas need as many nodes, and 2 are alive" in publish("set-b", "b/2", "--replicas", "3").error
    assert "table 'b/2' is given twice" in publish("set-b", "b/2", "b/2").error
    assert "is no source of blocks" in publish("set-b", "b/1", "--source", "ftp://x").error
    assert "has no previous versions" in run("rollback", "--cluster", cluster.url, "--set", "set-b").error
    assert "no set 'none'" in run("rollback", "--cluster", cluster.url, "--set", "none").error
    assert current(cluster, "set-b") == before
    assert current(cluster, "other") == {}


@pytest.mark.parametrize("unruly", ["truncates", "changes_a_bit"])
def test_a_source_of_wrong_bytes_makes_nothing_current(cluster, publish, root, unruly):
    before = write_versions(root, f"c-{unruly}", 1)
    assert publish(unruly, *before).status == 0
    write_versions(root, f"c-{unruly}", 2)

    with http_root(root, unruly) as url:
        failed = publish(unruly, *before, "--source", url, "--timeout", "1")

    assert "so the old ones stay" in failed.error
    assert current(cluster, unruly) == before
    assert not cluster.map_when(lambda _: True).sets[unruly].pending
    assert publish(unruly, *before).status == 0


@pytest.mark.parametrize("num_blocks", [0, 1, 2, 3])
def test_a_killed_publisher_leaves_the_old_versions_and_the_next_one_works(cluster, publish, root, num_blocks):
    name = f"d-{num_blocks}"
    before = write_versions(root, name, 1)
    assert publish(name, *before).status == 0
    after = write_versions(root, name, 2)

    process = cluster.begin_publish(root, *after, "--set", name)
    cluster.map_when(lambda found: bool(found.sets[name].pending) and blocks_held(cluster, after) >= num_blocks)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=SECONDS)

    assert current(cluster, name) == before
    assert asyncio.run(read_set(cluster, name, expected(name, 1)))
    assert publish(name, *after).status == 0
    assert current(cluster, name) == after
    assert asyncio.run(read_set(cluster, name, expected(name, 2)))


def blocks_held(cluster, versions):
    """How many blocks of versions, by table, nodes have on their disks, of twice the rows of both tables."""
    num_blocks = 0
    for number in range(len(cluster.nodes)):
        root = DataRoot.open(cluster.root(number))
        for item in versions.items():
            with contextlib.suppress(VersionNotFound, TableNotFound):
                num_blocks += int(held_blocks(root.stored_version(*item)).sum())
    return num_blocks


def test_a_publisher_that_is_told_to_stop_takes_back_what_it_began(cluster, publish, root):
    before = write_versions(root, "e", 1)
    assert publish("set-e", *before).status == 0
    after = write_versions(root, "e", 2)

    process = cluster.begin_publish(root, *after, "--set", "set-e")
    cluster.map_when(lambda found: bool(found.sets["set-e"].pending))
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=SECONDS)

    assert process.returncode == 128 + signal.SIGTERM, out
    found = cluster.map_when(lambda _: True)
    assert (found.sets["set-e"].pending, found.sets["set-e"].current) == ({}, before)
