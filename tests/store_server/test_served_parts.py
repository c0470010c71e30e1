"""A node that holds some blocks of a version, over the wire."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from support.parts import block_bytes, make_part, manifest_of, writer_of
from support.rows import random_rows
from support.tables import write_table

from engram_store.v1 import lookup_service_pb2_grpc as lookup_pb2_grpc
from engram_store.v1.lookup_service_pb2 import LookupRequest
from store_server.catalog import Catalog
from store_server.config import ServerConfig
from store_server.limits.limits import Limits
from store_server.limits.load import Load
from store_server.node import running
from store_server.services.calls import Calls
from store_server.services.draining import Draining
from store_server.services.lookup import LookupService
from store_server.services.under_way import CallsUnderWay
from store_server.storage import DataRoot, RowsNotHeld

BLOCK_ROWS = 4_095
ROWS = random_rows(3 * BLOCK_ROWS, 264)


@pytest.fixture
def whole(tmp_path):
    write_table(tmp_path / "whole", "t", ROWS)
    return tmp_path / "whole"


@pytest.fixture
def part(tmp_path, whole):
    """A data root with block 1."""
    make_part(tmp_path / "part", "t", ROWS, manifest_of(whole, "t"), [1])
    return tmp_path / "part"


async def test_a_node_answers_rows_that_it_holds_and_says_of_others_that_it_does_not(part):
    config = ServerConfig(root=part, listen="127.0.0.1:0")
    async with running(config) as node, grpc.aio.insecure_channel(node.address) as channel:
        lookup = lookup_pb2_grpc.LookupServiceStub(channel).Lookup
        answer = await lookup(LookupRequest(table="t", rows=[BLOCK_ROWS, 2 * BLOCK_ROWS - 1]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await lookup(LookupRequest(table="t", rows=[BLOCK_ROWS, 5]))

    assert answer.rows == ROWS[[BLOCK_ROWS, 2 * BLOCK_ROWS - 1]].tobytes()
    info = ErrorInfo()
    Status.FromString(dict(caught.value.trailing_metadata())["grpc-status-details-bin"]).details[0].Unpack(info)
    assert (caught.value.code(), info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ROWS_NOT_HELD")
    version = manifest_of(part, "t").version
    assert dict(info.metadata) == {"table": "t", "version": version, "row": "5", "epoch": "0"}


@pytest.mark.parametrize("is_cold", [False, True])
async def test_the_failure_names_the_epoch_of_the_nodes_map(part, is_cold):
    catalog = Catalog(DataRoot.open(part), ServerConfig(root=part))
    if not is_cold:
        catalog.reload()
    server = grpc.aio.server()
    with ThreadPoolExecutor(1) as executor:
        lookups = LookupService(catalog, executor, CallsUnderWay(), Draining(), lambda: 17)
        server.add_generic_rpc_handlers((lookups.handler(Calls(Load(Limits(), 1))),))
        port = server.add_insecure_port("127.0.0.1:0")
        if is_cold:  # opened by the lookup itself, in a thread
            catalog.reload()
            catalog.tables["t"].versions[manifest_of(part, "t").version].close()
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="shard map of this node has epoch 17"):
                await lookup_pb2_grpc.LookupServiceStub(channel).Lookup(LookupRequest(table="t", rows=[5]))
        await server.stop(None)
    catalog.close()


async def test_blocks_come_and_go_while_a_node_serves_by_the_hand_of_another(part):
    config = ServerConfig(root=part, listen="127.0.0.1:0", reload_seconds=3600)
    async with running(config) as node, grpc.aio.insecure_channel(node.address) as channel:
        lookup = lookup_pb2_grpc.LookupServiceStub(channel).Lookup
        with writer_of(part, "t") as writer:
            await asyncio.to_thread(writer.store, {0: block_bytes(ROWS, BLOCK_ROWS, 0)})
            assert (await lookup(LookupRequest(table="t", rows=[7]))).rows == ROWS[7].tobytes()
            await asyncio.to_thread(writer.let_go, [(0, 1)])
            with pytest.raises(grpc.aio.AioRpcError):
                await lookup(LookupRequest(table="t", rows=[7]))


def test_a_block_that_comes_leaves_the_version_open(part):
    catalog = Catalog(DataRoot.open(part), ServerConfig(root=part))
    catalog.reload()
    before = catalog.find("t", "")

    with writer_of(part, "t") as writer:
        writer.store({0: block_bytes(ROWS, BLOCK_ROWS, 0)})
    catalog.reload()

    assert before is not None
    assert catalog.find("t", "") is before
    catalog.close()


def test_a_whole_version_that_stops_being_whole_is_noticed_at_the_next_lookup(whole):
    catalog = Catalog(DataRoot.open(whole), ServerConfig(root=whole))
    catalog.reload()
    backend = catalog.find("t", "").backend
    out = np.empty((1, 264), np.uint8)

    with writer_of(whole, "t") as writer:
        writer.let_go([(2, 3)])

    with pytest.raises(RowsNotHeld):
        backend.gather(np.array([2 * BLOCK_ROWS]), out)
    backend.gather(np.array([4]), out)
    assert np.array_equal(out[0], ROWS[4])
    catalog.close()
