"""A client that begins more messages than a node can hold, and ends none: it is cut off, and others are served."""

import asyncio
import contextlib

import grpc
import pytest
from fuzz.wire.frames import ACK, DATA, PING, SETTINGS, WINDOW_UPDATE, Frame, call_frames, grpc_message, opening
from support.credentials import CredentialsOnDisk, bearer
from support.rows import random_rows
from support.tables import write_table

from engram_store.v1 import lookup_service_pb2 as pb
from engram_store.v1 import lookup_service_pb2_grpc as stubs
from store_server.access.access_config import AccessConfig
from store_server.config import ServerConfig
from store_server.limits.limits import Limits
from store_server.node import running

MIB = 1 << 20
ROWS = random_rows(100, 64)
PATHS = [b"/engram_store.v1.LookupService/Lookup", b"/engram_store.v1.LookupService/LookupStream"]
WINDOW_SIZE = b"\x00\x04"


class Halves:
    """A connection with calls of which each has sent nearly all of a message."""

    def __init__(self, reader, writer, path, calls):
        self._reader, self._writer = reader, writer
        self._window, self._first_window = 65_535, 65_535
        self._windows = {}
        begun = grpc_message(bytes(4 * MIB - 2000), length=4 * MIB - 1000)
        self._left = {2 * number + 1: memoryview(begun) for number in range(calls)}
        writer.write(opening())
        for stream in self._left:
            writer.write(call_frames(stream, path, b"")[0].encoded())

    async def run(self):
        """Send as much as the node takes, until it ends the connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                self._send()
                await self._take_frame()

    def _send(self):
        for stream, left in self._left.items():
            while left and (size := min(16_000, self._window, self._windows.get(stream, self._first_window))) > 0:
                size = min(size, len(left))
                self._writer.write(Frame(DATA, 0, stream, bytes(left[:size])).encoded())
                left = self._left[stream] = left[size:]
                self._window -= size
                self._windows[stream] = self._windows.get(stream, self._first_window) - size

    async def _take_frame(self):
        head = await self._reader.readexactly(9)
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
        payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
        if kind == WINDOW_UPDATE and stream:
            self._windows[stream] = self._windows.get(stream, self._first_window) + int.from_bytes(payload, "big")
        elif kind == WINDOW_UPDATE:
            self._window += int.from_bytes(payload, "big")
        elif kind in (SETTINGS, PING) and not flags & ACK:
            answer = payload if kind == PING else b""
            self._writer.write(Frame(kind, ACK, 0, answer).encoded())
            self._take_settings(payload if kind == SETTINGS else b"")

    def _take_settings(self, payload):
        for start in range(0, len(payload), 6):
            if payload[start : start + 2] == WINDOW_SIZE:
                size = int.from_bytes(payload[start + 2 : start + 6], "big")
                for stream in self._windows:
                    self._windows[stream] += size - self._first_window
                self._first_window = size


@pytest.mark.parametrize("path", PATHS, ids=["one message", "a stream"])
async def test_who_fills_a_node_with_halves_of_messages_is_cut_off_though_it_may_not_even_call(path, tmp_path):
    write_table(tmp_path / "root", "t", ROWS)
    written = CredentialsOnDisk(tmp_path / "tokens.toml")
    token = bearer(written.add("reader"))
    config = ServerConfig(
        root=tmp_path / "root",
        listen="127.0.0.1:0",
        limits=Limits(max_in_flight_bytes=64 * MIB),  # of which a quarter is for requests
        access=AccessConfig(tokens=written.path),
    )

    async with running(config) as node, grpc.aio.insecure_channel(node.address) as channel:
        lookups = stubs.LookupServiceStub(channel)
        request = pb.LookupRequest(table="t", rows=[7])
        assert (await lookups.Lookup(request, metadata=token, timeout=10)).rows == ROWS[7].tobytes()
        host, port = node.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(30):
            await Halves(reader, writer, path, calls=12).run()
        writer.close()
        assert (await lookups.Lookup(request, metadata=token, timeout=10)).rows == ROWS[7].tobytes()
