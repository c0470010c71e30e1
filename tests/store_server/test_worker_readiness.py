"""One process of a node: clients are told nothing before it knows where all of them listen."""

import asyncio

import grpc
import numpy as np
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.rows import random_rows
from support.tables import write_table

import engram_client
from engram_store.v1 import table_service_pb2 as tables
from engram_store.v1 import table_service_pb2_grpc as table_stubs
from store_server.config import ServerConfig
from store_server.node import running

ROWS = random_rows(100, 64)
PATIENCE_SECONDS = 30


@pytest.fixture
async def worker(tmp_path):
    write_table(tmp_path / "root", "t", ROWS)
    config = ServerConfig(root=tmp_path / "root", listen="127.0.0.1:0")
    async with running(config, is_one_of_several=True) as node:
        yield node


async def health_of(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    return [(await stub.Check(health_pb2.HealthCheckRequest(service=name))).status for name in ("", "t")]


async def test_a_worker_describes_tables_and_is_healthy_only_once_it_knows_of_all_workers(worker):
    status = health_pb2.HealthCheckResponse
    async with grpc.aio.insecure_channel(worker.address) as channel:
        stub = table_stubs.TableServiceStub(channel)

        for call in (stub.ListTables(tables.ListTablesRequest()), stub.GetTable(tables.GetTableRequest(name="t"))):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert reason_of(refused.value) == "STARTING"
        assert await health_of(channel) == [status.NOT_SERVING] * 2

        await worker.name_workers("n", ["1", "2"])

        named = tables.Workers(node="n", listen=["1", "2"])
        assert (await stub.ListTables(tables.ListTablesRequest())).workers == named
        assert (await stub.GetTable(tables.GetTableRequest(name="t"))).workers == named
        assert await health_of(channel) == [status.SERVING] * 2


def reason_of(error):
    info = ErrorInfo()
    status = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    assert status.details[0].Unpack(info)
    return info.reason


async def test_a_client_that_comes_too_early_tries_again(worker):
    async with engram_client.connect(f"grpc://{worker.address}", timeout=PATIENCE_SECONDS) as store:
        described = asyncio.create_task(store.table("t"))
        async with grpc.aio.insecure_channel(worker.address) as channel:
            await health_of(channel)
        assert not described.done()

        await worker.name_workers("n", [worker.address.rpartition(":")[2]])

        assert np.array_equal(await (await described).fetch([7]), ROWS[[7]])
