"""`python -m fuzz.grpc_alone [CALLS]`: how much a server of gRPC alone grows by a call, by the way the call ends.

With this the slopes of the wire targets are compared: a server without a line of ours keeps some bytes of every call,
and more of one whose client leaves before it has read all replies, or while the server reads. What a node keeps beyond
that would be ours. The bar of a run is Growth's: at most 3 % of what is held, or 4 MiB, from the warm-up to the end.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from types import MappingProxyType
from typing import Any, Final

import grpc
from fuzz.wire.frames import Frame, broken, call_frames, opening
from support.growth import Growth

_AT_ONCE: Final = 16
_SAMPLES: Final = 40
_REPLIES: Final = 20
_MESSAGE: Final = b"x" * 1000
_TIME_LIMIT_SECONDS: Final = 60.0
_CALLS_A_CONNECTION: Final = 15
_A_MOMENT_SECONDS: Final = 0.02


async def _answered(channel: grpc.aio.Channel) -> None:
    async for _ in channel.unary_stream("/alone/Few")(_MESSAGE, timeout=_TIME_LIMIT_SECONDS):
        pass


async def _refused(channel: grpc.aio.Channel) -> None:
    try:
        await channel.unary_unary("/alone/Refuse")(_MESSAGE, timeout=_TIME_LIMIT_SECONDS)
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.NOT_FOUND


async def _left_unread(channel: grpc.aio.Channel) -> None:
    call = channel.unary_stream("/alone/Many")(_MESSAGE, timeout=_TIME_LIMIT_SECONDS)
    await call.read()
    call.cancel()


async def _left_while_read(channel: grpc.aio.Channel) -> None:
    call = channel.stream_stream("/alone/Echo")(timeout=_TIME_LIMIT_SECONDS)
    await call.write(_MESSAGE)
    await call.read()
    call.cancel()


def _frames(calls: int) -> list[Frame]:
    return [frame for number in range(calls) for frame in call_frames(2 * number + 1, b"/alone/Many", _MESSAGE)]


async def _never_reads(rng: random.Random, writer: asyncio.StreamWriter) -> None:
    writer.write(opening(window=0) + b"".join(frame.encoded() for frame in _frames(_CALLS_A_CONNECTION)))
    await asyncio.sleep(_A_MOMENT_SECONDS)


async def _breaks_frames(rng: random.Random, writer: asyncio.StreamWriter) -> None:
    writer.write(opening() + b"".join(frame.encoded() for frame in broken(rng, _frames(3))))
    await asyncio.sleep(_A_MOMENT_SECONDS)


_CONNECTIONS: Final[Mapping[str, Callable[[random.Random, asyncio.StreamWriter], Awaitable[None]]]] = MappingProxyType(
    {"connection that never reads": _never_reads, "connection that breaks frames": _breaks_frames}
)
_WAYS: Final[Mapping[str, Callable[[grpc.aio.Channel], Awaitable[None]]]] = MappingProxyType(
    {
        "answered": _answered,
        "refused": _refused,
        "left with replies unread": _left_unread,
        "left while the server reads": _left_while_read,
    }
)


async def main(calls: int) -> None:
    """Print a line for each way."""
    for way in (*_WAYS, *_CONNECTIONS):
        here, there = multiprocessing.get_context("spawn").Pipe()
        server = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
        server.start()
        memory = (await _grown(here.recv(), server.pid or 0, way, calls)).memory
        server.kill()
        server.join()
        print(f"{way:<30} {calls:>9,} times  {memory.held / 2**20:.0f} MiB {memory.slope:+.1f} B each", flush=True)


async def _grown(port: int, pid: int, way: str, calls: int) -> Growth:
    growth, rng = Growth(), random.Random(1)
    for part in range(1, _SAMPLES + 1):
        rounds = calls // _SAMPLES // _AT_ONCE
        await (_call(port, _WAYS[way], rounds) if way in _WAYS else _connect(port, _CONNECTIONS[way], rounds, rng))
        growth.look(pid, part * (calls // _SAMPLES), with_sockets=False)
    return growth


async def _call(port: int, make_call: Callable[[grpc.aio.Channel], Awaitable[None]], rounds: int) -> None:
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        for _ in range(rounds):
            await asyncio.gather(*(make_call(channel) for _ in range(_AT_ONCE)))


async def _connect(
    port: int, speak: Callable[[random.Random, asyncio.StreamWriter], Awaitable[None]], rounds: int, rng: random.Random
) -> None:
    async def once() -> None:
        with suppress(ConnectionError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await speak(rng, writer)
            finally:
                writer.transport.abort()

    for _ in range(rounds):
        await asyncio.gather(*(once() for _ in range(_AT_ONCE)))


def _serve(told: Connection) -> None:
    asyncio.run(_served(told))


async def _served(told: Connection) -> None:
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    methods = {
        "Few": grpc.unary_stream_rpc_method_handler(_reply),
        "Many": grpc.unary_stream_rpc_method_handler(_reply_often),
        "Refuse": grpc.unary_unary_rpc_method_handler(_refuse),
        "Echo": grpc.stream_stream_rpc_method_handler(_echo),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("alone", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    told.send(port)
    await server.wait_for_termination()


async def _reply(message: bytes, context: Any) -> None:
    await context.write(message)


async def _reply_often(message: bytes, context: Any) -> None:
    for _ in range(_REPLIES):
        await context.write(message)


async def _refuse(_: bytes, context: Any) -> None:
    await context.abort(grpc.StatusCode.NOT_FOUND, "there is none")


async def _echo(_: object, context: Any) -> None:
    while isinstance(message := await context.read(), bytes):
        await context.write(message)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
