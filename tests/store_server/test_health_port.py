"""The port for probes: there before tables are open, in plain text, with nothing else to be had on it."""

import asyncio
import contextlib
import os
import re
import signal

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.never_opens import node_that_never_opens
from support.processes import node_process
from support.rows import random_rows
from support.tables import write_table

from engram_store.v1.lookup_service_pb2 import LookupRequest
from engram_store.v1.lookup_service_pb2_grpc import LookupServiceStub
from store_server.listen_address import ListenAddress
from store_server.services.health_port import HealthPort

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
PATIENCE_SECONDS = 60
ANYWHERE = ("--health-listen", "127.0.0.1:0")


@pytest.fixture
def root(tmp_path):
    write_table(tmp_path / "root", "t", random_rows(100, 16))
    return tmp_path / "root"


def address_in(log):
    return re.search(r"event='health port' address='([^']+)'", log)[1]


def health_at(address, *services):
    """Return what a probe is told, one after the other; the code of a failure where it fails."""
    found = []
    with grpc.insecure_channel(address) as channel:
        for service in services:
            try:
                request = health_pb2.HealthCheckRequest(service=service)
                found.append(health_pb2_grpc.HealthStub(channel).Check(request, timeout=PATIENCE_SECONDS).status)
            except grpc.RpcError as error:
                found.append(error.code())
    return found


@pytest.mark.parametrize("options", [(), ("--supervise",), ("--workers", "2")])
def test_a_node_answers_probes_and_nothing_else_on_its_own_port(root, options):
    with node_process(root, *options, *ANYWHERE) as node:
        assert node.logged("event='health port'")
        address = address_in(node.log)
        with grpc.insecure_channel(address) as channel:
            request = health_pb2.HealthCheckRequest(service="")
            for told in health_pb2_grpc.HealthStub(channel).Watch(request, timeout=PATIENCE_SECONDS):
                if told.status == SERVING:
                    break

        assert health_at(address, "", "startup", "liveness") == [SERVING] * 3
        assert health_at(address, "t") == [grpc.StatusCode.NOT_FOUND]
        with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as refused:
            LookupServiceStub(channel).Lookup(LookupRequest(table="t", rows=[1]), timeout=PATIENCE_SECONDS)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert node.stop() == 0


def test_a_node_whose_worker_died_is_alive_and_not_ready_until_there_is_another(root):
    with node_process(root, "--supervise", *ANYWHERE) as node:
        assert node.logged("event='worker ready'")
        pid = node.log.partition("event='worker ready'")[2].partition("pid=")[2].split()[0]
        address, expected = address_in(node.log), [SERVING, NOT_SERVING, SERVING]
        with grpc.insecure_channel(address) as channel:
            request = health_pb2.HealthCheckRequest(service="")
            for told in health_pb2_grpc.HealthStub(channel).Watch(request, timeout=PATIENCE_SECONDS):
                if told.status != expected[0]:
                    continue
                if expected.pop(0) == SERVING and expected:
                    os.kill(int(pid), signal.SIGKILL)
                if not expected:
                    break
                assert health_at(address, "startup", "liveness") == [SERVING] * 2


def test_a_node_whose_tables_are_being_loaded_is_alive_and_not_started(root):
    with node_that_never_opens(root) as node:
        address = address_in(next(line for line in node.stderr if "health port" in line))

        found = health_at(address, "", "startup", "liveness")

        node.send_signal(signal.SIGTERM)
        assert node.wait(PATIENCE_SECONDS) == 0
    assert found == [NOT_SERVING, NOT_SERVING, SERVING]


@contextlib.asynccontextmanager
async def watching(**limits):
    port = HealthPort(**limits)
    try:
        address = await port.listen(ListenAddress.parse("127.0.0.1:0"))
        async with asyncio.timeout(PATIENCE_SECONDS), grpc.aio.insecure_channel(address) as channel:
            yield health_pb2_grpc.HealthStub(channel)
    finally:
        await port.close()


async def test_who_watches_too_long_is_told_to_begin_again():
    async with watching(watch_seconds=0.1) as health:
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == NOT_SERVING

        with pytest.raises(grpc.aio.AioRpcError, match="ends after 0.1 s") as ended:
            await watch.read()

    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_those_who_watch_leave_room_for_those_who_ask():
    async with watching(most_watches=1) as health:
        first = health.Watch(health_pb2.HealthCheckRequest())
        await first.read()

        with pytest.raises(grpc.aio.AioRpcError, match="at most 1 calls of Watch") as refused:
            await health.Watch(health_pb2.HealthCheckRequest()).read()
        assert (await health.Check(health_pb2.HealthCheckRequest(service="liveness"))).status == SERVING
        first.cancel()

    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
