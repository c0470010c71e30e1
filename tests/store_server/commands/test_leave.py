"""A node of a real cluster leaves it for good, under load; and what is refused."""

import asyncio
import contextlib
import re

import numpy as np
import pytest
from support.etcd import needs_etcd
from support.published_cluster import published_cluster
from support.steady_load import SteadyLoad
from support.tables import write_table

import engram_client
from engram_client import VersionNotFound

pytestmark = needs_etcd
ROWS = np.random.default_rng(0).integers(0, 256, (48, 1 << 16), np.uint8)
SECONDS = 60


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with published_cluster(tmp_path_factory.mktemp("cluster"), 3) as found:
        yield found


async def told_of(store):
    """Return the table once a node tells that it is current: `publish` does not wait until all go by the new map."""
    async with asyncio.timeout(SECONDS):
        while True:
            with contextlib.suppress(VersionNotFound):
                return await store.table("t")


async def test_a_node_leaves_under_load_all_its_shards_are_on_others_and_it_is_gone_once_it_has_stopped(
    cluster, run, root
):
    def command(*arguments):
        return run(*arguments, "--cluster", cluster.url)

    write_table(root, "t", ROWS)
    published = await asyncio.to_thread(command, "publish", root, "t", "--set", "s")
    assert published.status == 0, published.err
    before = await asyncio.to_thread(cluster.map_when, lambda _: True)
    assert any(1 in shard.holders for shard in shards_of(before))

    async with (
        engram_client.connect(cluster.grpc_url, timeout=SECONDS) as store,
        SteadyLoad(await told_of(store), ROWS, rows_a_fetch=8) as load,
    ):
        await load.go_on(20)
        left = await asyncio.to_thread(command, "leave", "n1", "--timeout", SECONDS)
        assert (left.status, left.out) == (0, "not needed any more  n1  stop it now\n"), left.err
        assert re.search(r"emptying n1 .* (\d[\d.]*)/\1 MB", left.err), left.err

        after = await asyncio.to_thread(cluster.map_when, lambda _: True)
        assert [sorted(shard.holders) for shard in shards_of(after)] == [[0, 2]] * len(shards_of(after))
        shown = await asyncio.to_thread(run, "cluster", cluster.url)
        states = [re.split(" {2,}", line)[3] for line in shown.out.splitlines() if line.startswith("node")]
        assert all(state.startswith("alive, answers, goes by epoch ") for state in states)
        assert [state.endswith(", leaving") for state in states] == [False, True, False]
        refused = await asyncio.to_thread(command, "leave", "n0")
        assert "without node 'n0' there is 1 living node, and each row is to be on 2" in refused.error

        await load.go_on(20)
        assert await asyncio.to_thread(cluster.nodes[1].stop) == 0
        last = await asyncio.to_thread(cluster.map_when, lambda found: len(found.nodes) == 2)
        assert [node.id for node in last.nodes] == ["n0", "n2"]
        await load.go_on(20)

    assert load.wrong == []


def shards_of(shard_map):
    return [shard for version in shard_map.current_versions() for shard in version.shards]


def test_a_node_that_is_taken_back_stays(cluster, run):
    def draining(found):
        return [node.id for node in found.nodes if node.draining]

    with cluster.node(3), cluster.node(4):
        cluster.map_when(lambda found: {"n3", "n4"} <= {node.id for node in found.nodes})
        assert run("leave", "n3", "--cluster", cluster.url, "--timeout", SECONDS).status == 0
        assert draining(cluster.map_when(lambda _: True)) == ["n3"]

        kept = run("leave", "n3", "--cluster", cluster.url, "--cancel")

        assert (kept.status, kept.out) == (0, "stays  n3\n")
        assert draining(cluster.map_when(lambda _: True)) == []


def test_what_cannot_leave_is_refused_in_one_line(cluster, run, tmp_path):
    for more in ((), ("--cancel",)):
        assert "has no node 'n9'" in run("leave", "n9", "--cluster", cluster.url, *more).error
        in_file = run("leave", "n0", "--cluster", f"file://{tmp_path}/map.json", *more)
        assert "the map of this cluster is a file" in in_file.error
        assert len(in_file.err.splitlines()) == 1  # no progress bar
