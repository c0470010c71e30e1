"""A gRPC relay before a node that holds back some of the replies of its lookup streams, each by itself.

    python slow_replies.py HOST:PORT SHARE SECONDS

prints the address that it listens on and ends when its standard input does. A reply that is held back lets those behind
it pass, as with a node that had to wait for something on account of that one. Which ones, is drawn from a fixed seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import grpc

_STOP_SECONDS = 10.0
_CALL_SECONDS = 3600.0
_LOOKUP_STREAM = "/engram_store.v1.LookupService/LookupStream"
_NO_LIMIT = (("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0))


class SlowReplies:
    """A relay in a process of its own; `address` is HOST:PORT."""

    def __init__(self, target: str, share: float, seconds: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, target, str(share), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address = self._process.stdout.readline().strip()
        if not self.address:
            raise AssertionError(f"the relay did not start, exit {self._process.wait(_STOP_SECONDS)}")

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.wait(_STOP_SECONDS)
        self._process.stdout.close()


@contextlib.contextmanager
def slow_replies(target: str, share: float, seconds: float) -> Iterator[SlowReplies]:
    """Run a relay to HOST:PORT that holds back a share of the replies for so many seconds."""
    relay = SlowReplies(target, share, seconds)
    try:
        yield relay
    finally:
        relay.stop()


class _Relay(grpc.GenericRpcHandler):
    """Every message is bytes, and handed on as it is."""

    def __init__(self, channel: grpc.aio.Channel, share: float, seconds: float) -> None:
        self._channel = channel
        self._share, self._seconds = share, seconds
        self._dice = random.Random(0)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        if details.method == _LOOKUP_STREAM:
            return grpc.stream_stream_rpc_method_handler(self._stream)

        async def ask(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            try:
                return await self._channel.unary_unary(details.method)(request, timeout=context.time_remaining())
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details())

        return grpc.unary_unary_rpc_method_handler(ask)

    async def _stream(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> None:
        call = self._channel.stream_stream(_LOOKUP_STREAM)(requests, timeout=_CALL_SECONDS)
        writing = asyncio.Lock()

        async def write(reply: bytes, seconds: float) -> None:
            await asyncio.sleep(seconds)
            async with writing:
                await context.write(reply)

        async with asyncio.TaskGroup() as writes:
            async for reply in call:
                writes.create_task(write(reply, self._seconds if self._dice.random() < self._share else 0.0))


async def _main(target: str, share: str, seconds: str) -> None:
    async with grpc.aio.insecure_channel(target, options=_NO_LIMIT) as channel:
        server = grpc.aio.server(options=_NO_LIMIT)
        server.add_generic_rpc_handlers((_Relay(channel, float(share), float(seconds)),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        print(f"127.0.0.1:{port}", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await server.stop(None)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
