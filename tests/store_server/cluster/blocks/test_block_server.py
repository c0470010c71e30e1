"""How a publisher's server begins and ends."""

import asyncio

import grpc
import numpy as np
import pytest
from support.network import free_ports
from support.tables import write_table

from engram_store.v1 import block_service_pb2 as pb
from engram_store.v1.block_service_pb2_grpc import BlockServiceStub
from store_server.cluster.blocks.block_server import serving_blocks
from store_server.listen_address import CannotListen
from store_server.storage import DataRoot

PATIENCE_SECONDS = 30


@pytest.fixture
def root(tmp_path):
    write_table(tmp_path / "root", "t", np.zeros((64, 1 << 20), np.uint8))
    return DataRoot.open(tmp_path / "root")


async def test_calls_that_a_stop_cuts_off_have_ended_with_it(root):
    before = asyncio.all_tasks()

    async with serving_blocks(root, "127.0.0.1:0") as address:
        channel = grpc.insecure_channel(address)
        request = pb.ReadBlocksRequest(table="t", version=root.current_version("t"), first_block=0, num_blocks=16)
        calls = [BlockServiceStub(channel).ReadBlocks(request, timeout=PATIENCE_SECONDS) for _ in range(4)]
        for call in calls:
            await asyncio.to_thread(next, call)

    assert asyncio.all_tasks() == before
    channel.close()


async def test_a_port_that_is_taken_is_said_to_be_so_and_nothing_else_is_printed(root, capfd):
    (port,) = free_ports(1)

    async with serving_blocks(root, f"127.0.0.1:{port}") as address:
        with pytest.raises(CannotListen, match=rf"^cannot listen on {address}: Address already in use$"):
            async with serving_blocks(root, address):
                pass

    assert capfd.readouterr().err == ""
