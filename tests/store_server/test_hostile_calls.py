"""Calls that no gRPC library would make, written byte by byte: whoever sends them ends no more than their own call."""

import asyncio
import contextlib

import grpc
import numpy as np
import pytest
from fuzz.wire.frames import call_frames, opening
from grpc_health.v1 import health_pb2
from support.rows import random_rows
from support.tables import write_table

import engram_client
from store_server.config import ServerConfig
from store_server.node import running
from store_server.serving import ServingFailed, serve

ROWS = random_rows(10, 16)
PATIENCE_SECONDS = 30


@pytest.fixture
def root(tmp_path):
    write_table(tmp_path / "root", "t", ROWS)
    return tmp_path / "root"


@contextlib.asynccontextmanager
async def connected(address):
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


def patience():
    return asyncio.timeout(PATIENCE_SECONDS)


async def fetched(address):
    async with engram_client.connect(f"grpc://{address}", timeout=PATIENCE_SECONDS) as store:
        return await (await store.table("t")).fetch(np.arange(10))


@pytest.mark.parametrize("path", [b"/\xa9", b"\xff", b"/engram_store.v1.LookupService/\xc0\xaf", b"/\xed\xa0\x80"])
async def test_a_call_to_a_method_whose_name_is_no_text_leaves_the_node_serving(root, path):
    config = ServerConfig(root=root, listen="127.0.0.1:0")
    async with running(config) as node, connected(node.address) as (reader, writer), patience():
        writer.write(opening() + b"".join(frame.encoded() for frame in call_frames(1, path, b"")))
        await reader.read(1)

        assert np.array_equal(await fetched(node.address), ROWS)


def test_a_node_whose_server_has_ended_by_itself_says_so_and_ends(root):
    closing = []

    def end_it(node):
        closing.append(asyncio.get_running_loop().create_task(node.close()))

    with pytest.raises(ServingFailed, match="gRPC ended the server"):
        serve(ServerConfig(root=root, listen="127.0.0.1:0"), listening=end_it)


async def test_who_watches_health_and_never_reads_keeps_the_node_from_nothing(root):
    config = ServerConfig(root=root, listen="127.0.0.1:0", reload_seconds=0.05)
    request = health_pb2.HealthCheckRequest(service="t").SerializeToString()
    async with running(config) as node, connected(node.address) as (reader, writer), patience():
        frames = call_frames(1, b"/grpc.health.v1.Health/Watch", request)
        writer.write(opening(window=0) + b"".join(frame.encoded() for frame in frames))
        await reader.read(1)
        write_table(root, "t", 255 - ROWS)

        async with grpc.aio.insecure_channel(node.address) as channel:
            watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
            told = health_pb2.HealthCheckResponse.FromString(await anext(aiter(watch(request))))
        assert told.status == health_pb2.HealthCheckResponse.SERVING
        assert np.array_equal(await fetched(node.address), 255 - ROWS)
