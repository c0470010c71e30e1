"""Limits as clients meet them: a real node, and clients that ask too much or take nothing."""

import asyncio
import contextlib

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from support.rows import random_rows
from support.tables import write_table

from engram_store.caller_knowledge import KNOWS
from engram_store.v1 import lookup_service_pb2 as pb
from engram_store.v1 import lookup_service_pb2_grpc as stubs
from engram_store.v1.error_reason_pb2 import ErrorReason
from store_server.config import ServerConfig
from store_server.limits.limits import Limits
from store_server.node import running

MIB = 1 << 20
ROWS = random_rows(4096, 1024)
CALLERS = pytest.mark.parametrize(
    ("says", "code"),
    [(KNOWS, grpc.StatusCode.RESOURCE_EXHAUSTED), ((), grpc.StatusCode.UNAVAILABLE)],
    ids=["a caller of today", "a caller of the first release"],
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("limits") / "root"
    write_table(root, "t", ROWS)
    return root


def node(root, **limits):
    return running(ServerConfig(root=root, listen="127.0.0.1:0", limits=Limits(**limits)))


def channel_to(node, *options):
    """A connection of its own: gRPC shares one among channels to the same place unless told otherwise."""
    return grpc.aio.insecure_channel(node.address, options=(("grpc.use_local_subchannel_pool", 1), *options))


async def refusal(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    info, retry = ErrorInfo(), RetryInfo()
    details = dict(caught.value.trailing_metadata() or ()).get("grpc-status-details-bin")
    for detail in Status.FromString(details).details if details else ():
        detail.Unpack(info)
        detail.Unpack(retry)
    return caught.value.code(), info.reason, retry.retry_delay.ToMilliseconds()


async def lookup(channel, rows=(1,), **options):
    reply = await stubs.LookupServiceStub(channel).Lookup(pb.LookupRequest(table="t", rows=rows), timeout=10, **options)
    assert reply.rows == ROWS[list(rows)].tobytes()


@CALLERS
async def test_a_connection_beyond_the_limit_is_told_when_to_try_again_and_others_are_served(root, says, code):
    async with contextlib.AsyncExitStack() as stack:
        address = await stack.enter_async_context(node(root, max_connections=2))
        channels = [await stack.enter_async_context(channel_to(address)) for _ in range(3)]
        for channel in channels[:2]:
            await lookup(channel)

        assert await refusal(lookup(channels[2], metadata=says)) == (code, "OVERLOADED", 100)
        for channel in channels[:2]:
            await lookup(channel)


async def test_a_message_beyond_the_limit_is_refused(root):
    async with node(root, max_message_bytes=64 << 10) as address, channel_to(address) as channel:
        code, _, _ = await refusal(lookup(channel, [1] * 10_000))
        await lookup(channel, [1] * 1000)

    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_metadata_beyond_the_limit_is_refused(root):
    async with node(root, max_metadata_bytes=2048) as address, channel_to(address) as channel:
        code, _, _ = await refusal(lookup(channel, metadata=(("much", "x" * 4096),)))
        await lookup(channel, metadata=(("little", "x" * 1000),))

    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_message_that_comes_compressed_is_refused(root):
    """Its size once unpacked would be known too late."""
    async with node(root) as address, channel_to(address) as channel:
        code, _, _ = await refusal(lookup(channel, [1] * 1000, compression=grpc.Compression.Gzip))

    assert code == grpc.StatusCode.UNIMPLEMENTED


async def stuck_stream(channel, messages, says=()):
    """A stream that asks for 4 MiB again and again and reads nothing."""
    stream = stubs.LookupServiceStub(channel).LookupStream(metadata=says)
    for number in range(messages):
        await stream.write(pb.LookupStreamRequest(id=number, table="t", rows=range(4000)))
    return stream


async def test_who_takes_no_replies_is_cut_off_and_others_are_served(root):
    async with contextlib.AsyncExitStack() as stack:
        address = await stack.enter_async_context(node(root, stall_seconds=0.2))
        stuck, other = [await stack.enter_async_context(channel_to(address)) for _ in range(2)]
        stream = await stuck_stream(stuck, 16)  # more than any window that gRPC may open on a busy machine
        await lookup(other)
        async with asyncio.timeout(30):
            while stuck.get_state() == grpc.ChannelConnectivity.READY:
                await stuck.wait_for_state_change(grpc.ChannelConnectivity.READY)
        await lookup(other)
        stream.cancel()


async def test_calls_beyond_what_a_connection_may_have_wait_at_the_client(root):
    async with node(root, max_streams=2) as served, channel_to(served) as channel:
        open_streams = [await stuck_stream(channel, 0) for _ in range(2)]
        for stream in open_streams:
            await stream.write(pb.LookupStreamRequest(id=1, table="t", rows=[1]))
            await stream.read()
        third = stubs.LookupServiceStub(channel).Lookup(pb.LookupRequest(table="t", rows=[1]), timeout=0.5)
        assert await third.code() is grpc.StatusCode.DEADLINE_EXCEEDED

        await open_streams[0].done_writing()
        await lookup(channel)


@CALLERS
async def test_lookups_beyond_what_may_wait_are_refused_each_by_itself(root, says, code):
    async with node(root, max_queued=4) as address, channel_to(address) as channel:
        stream = await stuck_stream(channel, 20, says)
        replies = [await stream.read() for _ in range(20)]
        await stream.done_writing()

    refused = [reply for reply in replies if reply.HasField("failure")]
    assert 0 < len(refused) < 20
    assert {reply.failure.metadata["retry_ms"] for reply in refused} == {"100"}
    assert {(reply.failure.code, reply.failure.reason) for reply in refused} == {
        (code.value[0], ErrorReason.ERROR_REASON_OVERLOADED)
    }
    assert all(reply.rows == ROWS[:4000].tobytes() for reply in replies if not reply.HasField("failure"))
    assert sorted(reply.id for reply in replies) == list(range(20))
