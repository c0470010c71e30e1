"""The way into a cluster: by any address that leads there, within each caller's time limit, and used no longer."""

import asyncio
import contextlib
import gc
import socket
import time

import numpy as np
import pytest
from support.fake_node import FakeNode
from support.real_cluster import real_cluster
from support.rows import random_rows

import engram_client
from engram_client import errors
from engram_client.cluster.node_or_cluster import NodeOrCluster

ROWS = random_rows(1000, 64)
SECONDS = 60


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with real_cluster(tmp_path_factory.mktemp("cluster"), 2, {"t": ROWS}) as cluster:
        yield cluster


@contextlib.contextmanager
def silent_address():
    """An address at which connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


async def seconds_until_refused(seeds, timeout):
    began = time.monotonic()
    with pytest.raises((errors.TimeLimitExceeded, errors.Unavailable), match="looking for the cluster"):
        await seeds.get_table("t", "", timeout)
    return time.monotonic() - began


async def test_who_looks_for_the_cluster_beside_others_waits_no_longer_than_alone():
    with silent_address() as one, silent_address() as other:
        seeds = NodeOrCluster([one, other])
        seconds = await asyncio.gather(*(seconds_until_refused(seeds, 0.4) for _ in range(4)))
        await seeds.close()

    assert max(seconds) < 2 * min(seconds)


async def test_an_address_at_which_there_is_something_else_does_not_hide_the_cluster(cluster):
    async with FakeNode(ROWS).listening() as url:
        addresses = [url.removeprefix("grpc://"), f"127.0.0.1:{cluster.ports[0]}"]
        async with engram_client.connect(f"grpc://{','.join(addresses)}", timeout=SECONDS) as store:
            table = await store.table("t")
            assert np.array_equal(await table.fetch([3, 1]), ROWS[[3, 1]])


async def test_where_no_address_can_lead_to_a_cluster_nobody_tries_until_the_time_limit():
    async with FakeNode(ROWS).listening() as one, FakeNode(ROWS).listening() as other:
        addresses = [url.removeprefix("grpc://") for url in (one, other)]
        async with engram_client.connect(f"grpc://{','.join(addresses)}", timeout=SECONDS) as store:
            with pytest.raises(errors.ProtocolError, match=addresses[0]):
                await store.tables()


class Relay:
    """Hands on what comes, and counts the connections that are open."""

    def __init__(self, port):
        self._port = port
        self.num_open = 0
        self.all_closed = asyncio.Event()

    async def hand_on(self, reader, writer):
        self.num_open += 1
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            await asyncio.gather(self._copy(reader, back), self._copy(there, writer))
        finally:
            self.num_open -= 1
            if not self.num_open:
                self.all_closed.set()

    async def _copy(self, reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()


async def test_the_address_that_led_to_the_cluster_is_let_go_of(cluster):
    relay = Relay(cluster.ports[0])
    server = await asyncio.start_server(relay.hand_on, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, engram_client.connect(f"grpc://127.0.0.1:{port}", timeout=SECONDS) as store:
        table = await store.table("t")

        closed = asyncio.create_task(relay.all_closed.wait())
        async with asyncio.timeout(SECONDS):
            while not closed.done():
                gc.collect()  # a call of gRPC refers to itself, also when it has ended, and keeps its connection
                await asyncio.wait((closed,), timeout=0.1)
        assert np.array_equal(await table.fetch([3, 1]), ROWS[[3, 1]])


async def test_a_store_that_is_closed_while_it_looks_for_its_cluster_says_so():
    with silent_address() as one, silent_address() as other:
        seeds = NodeOrCluster([one, other])
        opening = asyncio.create_task(seeds.get_table("t", "", SECONDS))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await seeds.close()

        with pytest.raises(errors.StoreClosed):
            await opening
