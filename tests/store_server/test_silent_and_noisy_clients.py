"""Clients that waste a node's time without asking for much: too many pings, none at all, calls nobody waits for."""

import asyncio
import contextlib
import threading

import grpc
import pytest
from fuzz.wire.frames import ACK, GOAWAY, PING, SETTINGS, Frame, call_frames, opening
from support.hooked_root import WAIT_SECONDS, ColdBackend, HookedRoot, node_on
from support.rows import random_rows
from support.tables import write_table

from engram_store.v1 import lookup_service_pb2 as pb
from engram_store.v1 import lookup_service_pb2_grpc as stubs
from store_server.config import ServerConfig
from store_server.node import running

ROWS = random_rows(100, 16)
STREAM = b"/engram_store.v1.LookupService/LookupStream"
ENHANCE_YOUR_CALM = 11
FORGIVEN_PINGS = 3  # the first, and two strikes
PATIENCE_SECONDS = 30.0


@pytest.fixture
def root(tmp_path):
    write_table(tmp_path / "root", "t", ROWS)
    return tmp_path / "root"


async def connected(node):
    host, port = node.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(opening())
    return reader, writer


async def take_frame(reader):
    """Return kind, flags and payload of the next frame."""
    head = await reader.readexactly(9)
    return head[3], head[4], await reader.readexactly(int.from_bytes(head[:3], "big"))


async def rows_of(node, *numbers):
    async with grpc.aio.insecure_channel(node.address) as channel:
        request = pb.LookupRequest(table="t", rows=numbers)
        return (await stubs.LookupServiceStub(channel).Lookup(request, timeout=PATIENCE_SECONDS)).rows


async def test_who_pings_again_and_again_is_sent_away_and_others_are_served(root):
    async with running(ServerConfig(root=root, listen="127.0.0.1:0")) as node, asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await connected(node)
        pings = [Frame(PING, 0, 0, number.to_bytes(8, "big")).encoded() for number in range(FORGIVEN_PINGS + 1)]
        writer.write(b"".join(pings))  # no more: the end of a connection with unread data would sweep away the answer
        said = b""
        while not said:
            kind, _, payload = await take_frame(reader)
            said = payload if kind == GOAWAY else b""
        with contextlib.suppress(ConnectionError):
            while await reader.read(4096):
                pass
        writer.close()

        assert await rows_of(node, 7) == ROWS[7].tobytes()

    assert int.from_bytes(said[4:8], "big") == ENHANCE_YOUR_CALM
    assert said[8:] == b"too_many_pings"


@pytest.mark.long  # the node asks after 30 seconds, and waits for 20
@pytest.mark.timeout(150)
async def test_a_connection_at_whose_other_end_nobody_is_any_more_is_ended(root):
    async with running(ServerConfig(root=root, listen="127.0.0.1:0")) as node, asyncio.timeout(100):
        reader, writer = await connected(node)
        writer.write(call_frames(1, STREAM, b"")[0].encoded())
        pings = 0
        while not reader.at_eof():
            try:
                kind, flags, _ = await take_frame(reader)
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            if kind == SETTINGS and not flags & ACK:
                writer.write(Frame(SETTINGS, ACK, 0).encoded())
            pings += kind == PING and not flags & ACK
        writer.close()

    assert pings


async def test_a_single_lookup_whose_deadline_passes_before_its_turn_at_the_disk_is_never_read(root):
    is_let_go, has_begun, read = threading.Event(), threading.Event(), []

    def before_gather(rows):
        read.append(list(rows))
        has_begun.set()
        is_let_go.wait(WAIT_SECONDS)

    hooked = HookedRoot(
        root, lambda opened, name, version, **options: ColdBackend(opened(name, version, **options), before_gather)
    )
    async with node_on(hooked, gather_threads=1) as node, grpc.aio.insecure_channel(node.address) as channel:
        lookups = stubs.LookupServiceStub(channel)
        first = lookups.Lookup(pb.LookupRequest(table="t", rows=[1]), timeout=PATIENCE_SECONDS)
        try:
            await asyncio.to_thread(has_begun.wait, WAIT_SECONDS)
            with pytest.raises(grpc.aio.AioRpcError) as late:
                await lookups.Lookup(pb.LookupRequest(table="t", rows=[2]), timeout=0.3)
        finally:
            is_let_go.set()
        assert (await first).rows == ROWS[1].tobytes()
        assert (await lookups.Lookup(pb.LookupRequest(table="t", rows=[3]), timeout=PATIENCE_SECONDS)).rows

    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert read == [[1], [3]]
