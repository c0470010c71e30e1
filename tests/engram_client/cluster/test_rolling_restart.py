"""Nodes that are stopped and started again, one after the other, while clients go on fetching."""

import asyncio
import subprocess
import sys
from functools import partial

import pytest
from support.certificates import make_authority, make_certificate
from support.credentials import CredentialsOnDisk
from support.network import Loopback
from support.real_cluster import real_cluster
from support.rows import random_rows
from support.steady_load import SteadyLoad

from engram_client.cluster.cluster_transport import ClusterTransport
from engram_client.keyring import Keyring
from engram_client.node_transport import NodeTransport
from engram_client.security import Security
from engram_client.store import Store

TABLE, ROWS = "m/layer-1", random_rows(20_000, 264)
SECONDS = 60
WORKERS = {"one process": (1, False), "two workers": (2, False), "two workers, TLS and tokens": (2, True)}


@pytest.fixture(scope="module", params=WORKERS.values(), ids=WORKERS)
def served(request, tmp_path_factory):
    """Two nodes that both hold all rows, and what a client shows to them."""
    num_workers, is_secured = request.param
    folder = tmp_path_factory.mktemp("cluster")
    options, security = secured(folder) if is_secured else ((), Security())
    options = ("--workers", str(num_workers), "--drain-seconds", "60", *options)
    network = Loopback(2, ports_a_node=num_workers)
    with real_cluster(folder, 2, {TABLE: ROWS}, options=options, network=network) as cluster:
        yield cluster, security


def secured(folder):
    """The options of nodes that are reached by TLS and want a token, and what a client shows that has one."""
    authority = make_authority(folder, "authority")
    own = make_certificate(folder, "node", authority)
    credentials = CredentialsOnDisk(folder / "credentials.toml")
    token = credentials.add("reader", "read admin")
    tls = ("--tls-cert", str(own.cert), "--tls-key", str(own.key), "--node-ca", str(authority.cert))
    return (*tls, "--tokens", str(credentials.path)), Security(tls=True, ca_file=authority.cert, token=token.text())


@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
async def test_each_node_is_stopped_and_started_again_under_load_and_no_fetch_fails(served, rounds):
    cluster, security = served
    logs = []
    link = partial(NodeTransport, retries=False, keyring=Keyring(security))
    transport = ClusterTransport(cluster.shard_map, link)
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


async def test_a_node_that_was_drained_loses_no_lookup_when_it_is_stopped(served, tmp_path):
    cluster, security = served
    link = partial(NodeTransport, retries=False, keyring=Keyring(security))
    transport = ClusterTransport(cluster.shard_map, link)
    async with Store(transport, SECONDS) as store, SteadyLoad(await store.table(TABLE), ROWS) as load:
        await load.go_on(50)
        await asyncio.to_thread(drain, cluster.addresses[0], security, tmp_path)
        await load.go_on(50)
        process = cluster.process(0)
        assert await asyncio.to_thread(cluster.stop, 0) == 0
        await load.go_on(50)
        await asyncio.to_thread(cluster.start, 0)

    assert load.wrong == []
    assert "nobody asks any more" in process.log
    assert "clients ask still" not in process.log


def drain(address, security, folder):
    """Have a node's clients go elsewhere, and wait until they have, as an operator does before a stop."""
    shown = ()
    if security.tls:
        (folder / "token").write_text(security.token)
        shown = ("--ca-file", str(security.ca_file), "--token-file", str(folder / "token"))
    url = f"{'grpcs' if security.tls else 'grpc'}://{address}"
    command = [sys.executable, "-m", "store_server", "admin", url, "drain", "--wait", *shown]
    subprocess.run(command, check=True, timeout=SECONDS, stdout=subprocess.DEVNULL)
