"""`python -m fuzz.grpc_alone [CALLS]`: how much a server of gRPC alone grows by a call, by the way the call ends.

With this the slopes of the wire targets are compared: a server without a line of ours keeps some bytes of every call,
and more of one whose client leaves before it has read all replies, or while the server reads; most of what hostile
connections do. What a node keeps beyond that would be ours: see WireTarget.kept_by_grpc. The bar of a run is Growth's:
at most 3 % of what is held, or 4 MiB, from the warm-up to the end.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from multiprocessing.connection import Connection
from types import MappingProxyType
from typing import Any, Final

import grpc
from fuzz.wire.connections import Connections
from support.growth import Growth

from store_server.limits.limits import Limits
from store_server.node_port import GRPC_OPTIONS

_AT_ONCE: Final = 16
_SAMPLES: Final = 40
_REPLIES: Final = 20
_MESSAGE: Final = b"x" * 1000
_MOST_BYTES: Final = 1000  # of a reply: hostile clients open no windows
_TIME_LIMIT_SECONDS: Final = 60.0
_SERVICES: Final = (
    "engram_store.v1.LookupService",
    "engram_store.v1.TableService",
    "engram_store.v1.BlockService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection",
)


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


_WIRE_FRAMES: Final = "connections as of wire-frames"
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
    for way in (*_WAYS, _WIRE_FRAMES):
        here, there = multiprocessing.get_context("spawn").Pipe()
        server = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
        server.start()
        memory = (await _grown(here.recv(), server.pid or 0, way, calls)).memory
        server.kill()
        server.join()
        print(f"{way:<30} {calls:>9,} times  {memory.held / 2**20:.0f} MiB {memory.slope:+.1f} B each", flush=True)


async def _grown(port: int, pid: int, way: str, calls: int) -> Growth:
    growth, done, hostile = Growth(), 0, Connections(_Bare(f"127.0.0.1:{port}"))
    for _ in range(_SAMPLES):
        if way in _WAYS:
            await _call(port, _WAYS[way], calls // _SAMPLES // _AT_ONCE)
            done += calls // _SAMPLES
        else:
            done += await _connect(hostile, random.Random(done), calls // _SAMPLES)
        growth.look(pid, done, with_sockets=False)
    return growth


class _Bare:
    """What the hostile connections have to know of a node: where it is, and a table to ask for."""

    def __init__(self, address: str) -> None:
        self.address, self.versions, self.ways_out = address, {"t": ""}, ["t"]


async def _call(port: int, make_call: Callable[[grpc.aio.Channel], Awaitable[None]], rounds: int) -> None:
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        for _ in range(rounds):
            await asyncio.gather(*(make_call(channel) for _ in range(_AT_ONCE)))


async def _connect(hostile: Connections, rng: random.Random, inputs: int) -> int:
    """Open connections until they have made so many inputs; returns how many they made."""
    outcomes: Counter[str] = Counter()

    async def client() -> None:
        while outcomes.total() < inputs:
            outcomes.update(await hostile.speak(rng))

    await asyncio.gather(*(client() for _ in range(4 * _AT_ONCE)))
    return outcomes.total()


def _serve(told: Connection) -> None:
    asyncio.run(_served(told))


async def _served(told: Connection) -> None:
    server = grpc.aio.server(options=(*GRPC_OPTIONS, *Limits().grpc_options()))  # or compressed bombs would count
    methods = {
        "Few": grpc.unary_stream_rpc_method_handler(_reply),
        "Many": grpc.unary_stream_rpc_method_handler(_reply_often),
        "Refuse": grpc.unary_unary_rpc_method_handler(_refuse),
        "Echo": grpc.stream_stream_rpc_method_handler(_echo),
    }
    of_a_node = {
        "Lookup": grpc.unary_unary_rpc_method_handler(_same),
        "LookupStream": grpc.stream_stream_rpc_method_handler(_echo),
        "GetTable": grpc.unary_unary_rpc_method_handler(_same),
        "ReadBlocks": grpc.unary_stream_rpc_method_handler(_reply),
        "Check": grpc.unary_unary_rpc_method_handler(_same),
        "ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(_echo),
    }
    handlers = [grpc.method_handlers_generic_handler(service, of_a_node) for service in _SERVICES]
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("alone", methods), *handlers))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    told.send(port)
    await server.wait_for_termination()


async def _reply(message: bytes, context: Any) -> None:
    await context.write(message[:_MOST_BYTES])


async def _reply_often(message: bytes, context: Any) -> None:
    for _ in range(_REPLIES):
        await context.write(message)


async def _same(message: bytes, _: Any) -> bytes:
    return message[:_MOST_BYTES]


async def _refuse(_: bytes, context: Any) -> None:
    await context.abort(grpc.StatusCode.NOT_FOUND, "there is none")


async def _echo(_: object, context: Any) -> None:
    while isinstance(message := await context.read(), bytes):
        await context.write(message[:_MOST_BYTES])


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
