"""Nodes that are stopped and started again, one after the other, while clients go on fetching."""

import asyncio
from functools import partial

import pytest
from support.network import Loopback
from support.real_cluster import real_cluster
from support.rows import random_rows
from support.steady_load import SteadyLoad

from engram_client.cluster.cluster_transport import ClusterTransport
from engram_client.node_transport import NodeTransport
from engram_client.store import Store

TABLE, ROWS = "m/layer-1", random_rows(20_000, 264)
SECONDS = 60
WORKERS = {"one process": 1, "two workers": 2}


@pytest.fixture(scope="module", params=WORKERS.values(), ids=WORKERS)
def cluster(request, tmp_path_factory):
    """Two nodes that both hold all rows."""
    network = Loopback(2, ports_a_node=request.param)
    options = ("--workers", str(request.param), "--drain-seconds", "60")
    with real_cluster(
        tmp_path_factory.mktemp("cluster"), 2, {TABLE: ROWS}, options=options, network=network
    ) as cluster:
        yield cluster


@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
async def test_each_node_is_stopped_and_started_again_under_load_and_no_fetch_fails(cluster, rounds):
    logs = []
    transport = ClusterTransport(cluster.shard_map, partial(NodeTransport, retries=False))
    async with Store(transport, SECONDS) as store, SteadyLoad(await store.table(TABLE), ROWS) as load:
        for number in (0, 1) * rounds:
            async with asyncio.timeout(SECONDS):  # so that there always is another node to go to
                while not all(transport.nodes[each].is_sought for each in (0, 1)):
                    await asyncio.sleep(0.01)
            await load.go_on(50)
            process = cluster.process(number)
            assert await asyncio.to_thread(cluster.stop, number) == 0
            logs.append(process.log)
            await load.go_on(50)
            await asyncio.to_thread(cluster.start, number)

    assert load.wrong == []
    # No client was cut off: all had gone to the other node.
    assert not any("clients ask still" in log for log in logs)
    assert all("nobody asks any more" in log for log in logs)
