"""Watching the health of a node on its main port: for a while, and not for one caller alone."""

import asyncio
import contextlib

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from store_server.limits.limits import Limits
from store_server.limits.load import Load
from store_server.services.calls import Calls
from store_server.services.health import HealthReport

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
PATIENCE_SECONDS = 30


@contextlib.asynccontextmanager
async def port_of(report):
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((report.handler(Calls(Load(Limits(), 1))),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def caller_at(port):
    """A caller of its own: nodes that know nobody tell callers by their connections."""
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=(("grpc.use_local_subchannel_pool", 1),))


def watch(channel):
    request = health_pb2.HealthCheckRequest()
    return health_pb2_grpc.HealthStub(channel).Watch(request, timeout=PATIENCE_SECONDS)


async def begun(channel):
    watching = watch(channel)
    assert (await watching.read()).status == NOT_SERVING
    return watching


async def test_a_watch_ends_after_a_while_without_an_error():
    async with port_of(HealthReport(watch_seconds=0.05)) as port, caller_at(port) as channel:
        assert [told.status async for told in watch(channel)] == [NOT_SERVING]


async def test_one_caller_has_half_of_the_watches_at_most_and_those_that_end_make_room():
    async with port_of(HealthReport(most_watches=4)) as port, caller_at(port) as greedy, caller_at(port) as other:
        first, _ = await begun(greedy), await begun(greedy)
        refused = watch(greedy)
        assert await refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await refused.details() == (
            "too many calls of Watch: at most 4 at a time, half of them of one caller; ask with Check"
        )
        await begun(other)
        first.cancel()

        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    again = watch(greedy)
                    if await again.read() is not grpc.aio.EOF:
                        break
