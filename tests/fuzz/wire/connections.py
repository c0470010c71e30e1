"""Connections of clients that speak no gRPC, no HTTP/2 or nothing at all.

A call that is well framed is answered, whatever it says. Any other connection is answered, ended by the node, or left
waiting for what it has not sent; and when it is closed nothing of it remains.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Final

from fuzz.target import Wrong
from fuzz.wire.expected import seed_lookups
from fuzz.wire.frames import (
    DATA,
    GOAWAY,
    HEADERS,
    PREFACE,
    RST_STREAM,
    Frame,
    broken,
    call_frames,
    opening,
    strange_call,
)
from fuzz.wire.node import FuzzedNode
from fuzz.wire_bytes import hostile_message

from engram_store.v1 import lookup_service_pb2 as pb

_TIME_LIMIT_SECONDS: Final = 10.0
_A_MOMENT_SECONDS: Final = 0.02  # that a broken connection is listened to: it need not be answered
_MOST_CALLS: Final = 6
_PATHS: Final = (
    b"/engram_store.v1.LookupService/Lookup",
    b"/engram_store.v1.LookupService/LookupStream",
    b"/engram_store.v1.TableService/GetTable",
    b"/engram_store.v1.BlockService/ReadBlocks",
    b"/grpc.health.v1.Health/Check",
    b"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    b"/../../etc/passwd",
    b"",
)
_NO_HTTP2: Final = (
    b"GET / HTTP/1.1\r\nHost: node\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),  # how TLS begins
    PREFACE[:10],
    PREFACE,
    b"\0" * 9,
    b"\xff" * 64,
    b"",
)


class Connections:
    """Opens one connection after another, to the port of the clients if no other is given."""

    def __init__(self, node: FuzzedNode, port: int | None = None) -> None:
        self._host, _, own_port = node.address.rpartition(":")
        self._port = port or int(own_port)
        self._messages = [
            pb.LookupRequest(table=each.table, version=each.version, rows=each.rows).SerializeToString()
            for each in seed_lookups(node)
        ]

    async def speak(self, rng: random.Random) -> Counter[str]:
        """Open a connection, say something strange, listen, and close or drop it."""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            match rng.randrange(10):
                case 0:
                    return await self._babble(rng, reader, writer)
                case 1 | 2 | 3:
                    return await self._break_frames(rng, reader, writer)
                case 4:
                    return await self._never_read(rng, writer)
                case _:
                    return await self._call_strangely(rng, reader, writer)
        except ConnectionError:
            return Counter(closed=1)
        finally:
            if rng.random() < 0.5:
                writer.transport.abort()
            writer.close()

    async def _babble(
        self, rng: random.Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Counter[str]:
        writer.write(rng.choice((*_NO_HTTP2, rng.randbytes(rng.randrange(200)))))
        await _listen(reader, _A_MOMENT_SECONDS)
        return Counter(babbled=1)

    async def _break_frames(
        self, rng: random.Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Counter[str]:
        frames = [frame for stream in (1, 3, 5) for frame in self._sound_call(rng, stream)]
        data = opening() + b"".join(frame.encoded() for frame in broken(rng, frames))
        writer.write(data[: rng.randrange(len(data))] if rng.random() < 0.2 else data)
        await _listen(reader, _A_MOMENT_SECONDS)
        return Counter(broken=1)

    async def _never_read(self, rng: random.Random, writer: asyncio.StreamWriter) -> Counter[str]:
        calls = range(1, 2 * rng.randrange(1, 30), 2)
        frames = [frame for stream in calls for frame in self._sound_call(rng, stream)]
        writer.write(opening(window=rng.choice((0, 1))) + b"".join(frame.encoded() for frame in frames))
        await asyncio.sleep(_A_MOMENT_SECONDS)
        return Counter(unread=len(calls))

    async def _call_strangely(
        self, rng: random.Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Counter[str]:
        streams = set(range(1, 2 * rng.randrange(1, _MOST_CALLS), 2))
        frames = [
            frame
            for stream in sorted(streams)
            for frame in strange_call(rng, stream, rng.choice(_PATHS), hostile_message(rng, self._messages))
        ]
        writer.write(opening() + b"".join(frame.encoded() for frame in frames))
        unanswered = await _unanswered(reader, set(streams), _TIME_LIMIT_SECONDS)
        if unanswered:
            raise Wrong(
                f"no answer within {_TIME_LIMIT_SECONDS:g} s on {unanswered} of {[each[:4] for each in frames]}"
            )
        return Counter(answered=len(streams))

    def _sound_call(self, rng: random.Random, stream: int) -> list[Frame]:
        return call_frames(stream, rng.choice(_PATHS), rng.choice(self._messages))


async def _listen(reader: asyncio.StreamReader, seconds: float) -> None:
    """Take whatever comes, until the node ends the connection or says nothing for so long."""
    try:
        while True:
            async with asyncio.timeout(seconds):
                if not await reader.read(1 << 16):
                    return
    except (TimeoutError, ConnectionError):
        return


async def _unanswered(reader: asyncio.StreamReader, streams: set[int], seconds: float) -> set[int]:
    """Wait for the end of calls; return those that had none in time. The node may also end the connection."""
    try:
        async with asyncio.timeout(seconds):
            while streams:
                head = await reader.readexactly(9)
                length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
                stream = int.from_bytes(head[5:], "big")
                await reader.readexactly(length)
                if kind == GOAWAY:
                    return set()
                if kind == RST_STREAM or (kind in (HEADERS, DATA) and flags & 1):
                    streams.discard(stream)
    except (asyncio.IncompleteReadError, ConnectionError):
        return set()
    except TimeoutError:
        return streams
    return set()
