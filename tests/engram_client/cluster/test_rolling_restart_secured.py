"""All nodes of a cluster with etcd, TLS and tokens are stopped and started again while clients go on fetching."""

import asyncio

import pytest
from support.etcd import needs_etcd
from support.rows import random_rows
from support.secured_cluster import secured_cluster
from support.steady_load import SteadyLoad
from support.tables import write_table

pytestmark = needs_etcd
NUM_NODES, FETCHES_BETWEEN, SECONDS = 3, 50, 60
TABLE, ROWS = "m/layer-1", random_rows(20_000, 264)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secured")
    write_table(folder / "source", TABLE, ROWS)
    with secured_cluster(folder, NUM_NODES, "--drain-seconds", "60") as cluster:
        cluster.publish(folder / "source", TABLE)
        yield cluster


@pytest.mark.timeout(300)
@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
async def test_each_node_is_stopped_and_started_again_under_load_and_no_fetch_fails(cluster, rounds):
    logs = []
    async with cluster.connect(SECONDS) as store, SteadyLoad(await store.table(TABLE), ROWS) as load:
        for number in tuple(range(NUM_NODES)) * rounds:
            await load.go_on(FETCHES_BETWEEN)
            node = cluster.nodes[number]
            assert await asyncio.to_thread(node.stop) == 0
            logs.append(node.log)
            await load.go_on(FETCHES_BETWEEN)
            await asyncio.to_thread(cluster.start, number)
        await load.go_on(FETCHES_BETWEEN)

    assert load.wrong == []
    # No client was cut off: all had gone to other nodes.
    assert all("nobody asks any more" in log for log in logs)
    assert load.num_right >= (2 * NUM_NODES * rounds + 1) * FETCHES_BETWEEN
