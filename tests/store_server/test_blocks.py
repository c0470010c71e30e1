"""Blocks of versions over the wire, as any gRPC client sees them."""

import asyncio
import contextlib
import threading

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from support.block_node import block_node
from support.checkpoints import attach_rows
from support.parts import block_bytes, make_part, manifest_of, writer_of
from support.rows import random_rows
from support.tables import write_table

from engram_store.v1 import block_service_pb2 as pb
from engram_store.v1 import block_service_pb2_grpc as stubs
from store_server.services.blocks import MOST_BLOCKS_A_CALL, BlockReader
from store_server.storage import DataRoot, Manifest, verify

BLOCK_ROWS = 4_095
ROWS = random_rows(4 * BLOCK_ROWS + 7, 264)


@pytest.fixture
def root(tmp_path):
    write_table(tmp_path / "root", "t", ROWS)
    return tmp_path / "root"


async def read(channel, root, first=0, count=5, **names):
    version = names.get("version") or manifest_of(root, "t").version
    request = pb.ReadBlocksRequest(table=names.get("table", "t"), version=version, first_block=first, num_blocks=count)
    return [(reply.block, reply.rows) async for reply in stubs.BlockServiceStub(channel).ReadBlocks(request)]


def reason_of(error):
    info = ErrorInfo()
    Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"]).details[0].Unpack(info)
    return info.reason


@pytest.mark.parametrize("backend", ["mmap", "lmdb", "safetensors"])
async def test_blocks_of_every_backend_are_sent_as_they_were_published(tmp_path, backend):
    if backend == "safetensors":
        version = attach_rows(tmp_path / "root", "t", ROWS)
        list(verify(DataRoot.open(tmp_path / "root"), "t", version))
    else:
        write_table(tmp_path / "root", "t", ROWS, backend=backend)
    async with block_node(tmp_path / "root") as address, grpc.aio.insecure_channel(address) as channel:
        blocks = await read(channel, tmp_path / "root", 1, 4)

    assert blocks == [(block, block_bytes(ROWS, BLOCK_ROWS, block)) for block in (1, 2, 3, 4)]


async def test_the_manifest_is_sent_as_it_lies_in_the_data_root(root):
    manifest = manifest_of(root, "t")
    async with block_node(root) as address, grpc.aio.insecure_channel(address) as channel:
        request = pb.GetManifestRequest(table="t", version=manifest.version)
        reply = await stubs.BlockServiceStub(channel).GetManifest(request)

    assert Manifest.from_json(reply.manifest) == manifest


async def test_of_a_part_the_blocks_that_are_held_are_sent(root, tmp_path):
    make_part(tmp_path / "part", "t", ROWS, manifest_of(root, "t"), [0, 3])
    async with block_node(tmp_path / "part") as address, grpc.aio.insecure_channel(address) as channel:
        blocks = await read(channel, tmp_path / "part", 0, 5)

    assert [number for number, _ in blocks] == [0, 3]


def test_a_block_that_is_given_up_while_others_are_sent_is_left_out_and_not_taken_for_a_bad_one(root):
    version, bad = manifest_of(root, "t").version, []
    request = pb.ReadBlocksRequest(table="t", version=version, first_block=0, num_blocks=3)
    reader = BlockReader(DataRoot.open(root), request, lambda _, block: bad.append(block))
    replies = [reader.next_reply()]
    with writer_of(root, "t") as writer:
        writer.let_go([(1, 2)])
        writer.give_back([(1, 2)])

    replies += [reader.next_reply(), reader.next_reply()]
    reader.close()

    assert [pb.ReadBlocksResponse.FromString(reply).block for reply in replies[:2]] == [0, 2]
    assert (replies[2], bad) == (None, [])


async def test_a_bad_block_is_not_sent_and_is_quarantined(root):
    data = next(root.glob("tables/t/versions/*/rows.bin"))
    with data.open("r+b") as file:
        file.seek(BLOCK_ROWS * 264 + 1000)
        file.write(b"\x00\x01\x02")
    async with block_node(root) as address, grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(channel, root, 1, 1)
        after = await read(channel, root, 0, 5)

    assert (caught.value.code(), reason_of(caught.value)) == (grpc.StatusCode.DATA_LOSS, "TABLE_DAMAGED")
    assert [number for number, _ in after] == [0, 2, 3, 4]


@pytest.mark.parametrize(
    ("first", "count", "says"),
    [
        (0, MOST_BLOCKS_A_CALL + 1, "at most 1024 blocks in one call, got 1025"),
        (4, 2, "has the blocks 0 to 4, got 5"),
        ((1 << 64) - 1, 1, "has the blocks 0 to 4"),
    ],
)
async def test_blocks_that_cannot_be_asked_for_are_refused(root, first, count, says):
    async with block_node(root) as address, grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match=says) as caught:
            await read(channel, root, first, count)

    assert reason_of(caught.value) == "MALFORMED_REQUEST"


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ({"table": "u"}, "TABLE_NOT_FOUND"),
        ({"version": "0" * 32}, "VERSION_NOT_FOUND"),
        ({"version": "../../t"}, "VERSION_NOT_FOUND"),
        ({"table": "../t"}, "INVALID_TABLE_NAME"),
    ],
)
async def test_what_is_not_there_is_named(root, names, reason):
    async with block_node(root) as address, grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(channel, root, **names)

    assert reason_of(caught.value) == reason


async def test_an_attached_version_without_digests_is_refused_until_it_was_verified(tmp_path):
    attach_rows(tmp_path / "root", "t", ROWS)
    async with block_node(tmp_path / "root") as address, grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="run `engram-store verify` on this node") as caught:
            await read(channel, tmp_path / "root")

    assert reason_of(caught.value) == "VERSION_UNAVAILABLE"


async def test_callers_that_go_free_their_turn_for_others(root):
    async with block_node(root) as address, grpc.aio.insecure_channel(address) as channel:
        version = manifest_of(root, "t").version
        request = pb.ReadBlocksRequest(table="t", version=version, first_block=0, num_blocks=5)
        for _ in range(12):
            call = stubs.BlockServiceStub(channel).ReadBlocks(request)
            await call.read()
            call.cancel()

        blocks = await asyncio.wait_for(read(channel, root), 20)

    assert len(blocks) == 5


async def test_callers_that_read_nothing_lose_their_turn_to_others(tmp_path):
    """Blocks that no connection takes in unread."""
    root = tmp_path / "root"
    write_table(root, "t", random_rows(64 << 10, 1024))
    version = manifest_of(root, "t").version
    async with contextlib.AsyncExitStack() as stack:
        address = await stack.enter_async_context(block_node(root, stall_seconds=0.1))
        for _ in range(4):
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
            request = pb.ReadBlocksRequest(table="t", version=version, first_block=0, num_blocks=64)
            stack.callback(stubs.BlockServiceStub(channel).ReadBlocks(request).cancel)
            await channel.channel_ready()
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))

        blocks = await asyncio.wait_for(read(channel, root, 0, 1), 20)

    assert [number for number, _ in blocks] == [0]


async def test_a_few_calls_read_at_once_and_the_others_wait(root):
    may_go_on, started = threading.Event(), threading.Semaphore(0)
    begun = []

    def stops(stored, block):
        begun.append(block)
        started.release()
        may_go_on.wait(20)

    data = next(root.glob("tables/t/versions/*/rows.bin"))
    with data.open("r+b") as file:
        file.write(b"\x00\x01\x02")
    async with block_node(root, stops) as address, grpc.aio.insecure_channel(address) as channel:
        calls = [asyncio.create_task(read(channel, root, 0, 1)) for _ in range(7)]
        for _ in range(4):
            assert await asyncio.to_thread(started.acquire, timeout=20)
        # Those that came before this one would have begun by now, had they not to wait.
        request = pb.GetManifestRequest(table="t", version=manifest_of(root, "t").version)
        await stubs.BlockServiceStub(channel).GetManifest(request)
        begun_at_once = len(begun)
        may_go_on.set()
        await asyncio.gather(*calls, return_exceptions=True)

    assert (begun_at_once, len(begun)) == (4, 7)
