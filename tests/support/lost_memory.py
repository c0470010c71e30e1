"""`python -m support.lost_memory HABIT URL`: does one thing again and again, and prints how many bytes each time loses.

A process of its own, in which nothing else is at work. What is counted is what the allocator has handed out, and not
what is resident: that says little before some hundred MiB are lost.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import itertools
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable

import grpc
import numpy as np
from support.environment import with_tests

import engram_client
from engram_client.call_end import answer_to
from engram_client.grpc_transport import GrpcTransport

_WINDOW = 40  # times between two looks
_WINDOWS = 6
_WARM_UP = 60  # times: pools and caches fill at first
_QUIETEST_OF = 10  # what a connection had a moment ago may not have gone yet
_TABLE = "t"
_ROWS = (16, 500)  # in turn: of the second, workers have answered before the connection is closed
_IDS = np.arange(max(_ROWS))


class _Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (*"abcdefg", "in_use", *"hi")]


_libc = ctypes.CDLL(None)
_libc.mallinfo2.restype = _Mallinfo


async def reconnecting(url: str, times: int) -> None:
    """Connect, fetch and leave."""
    async with engram_client.connect(url) as store:
        await (await store.table(_TABLE)).fetch(_IDS[: _ROWS[times % len(_ROWS)]])


async def blocking(url: str, times: int) -> None:
    """Do the same without an event loop of one's own."""

    def connect_and_fetch() -> None:
        with engram_client.connect_blocking(url) as store:
            store.table(_TABLE).fetch(_IDS[: _ROWS[times % len(_ROWS)]])

    await asyncio.to_thread(connect_and_fetch)


async def closed_early(url: str, _times: int) -> None:
    """Close a connection while an answer is waited for."""
    transport = GrpcTransport(url.removeprefix("grpc://"))
    asking = asyncio.ensure_future(transport.list_tables(30.0))
    await _some_turns()
    await transport.close()
    await asyncio.wait((asking,))


def given_up(ask: Callable[[grpc.aio.UnaryUnaryCall], Awaitable[bytes]]) -> Callable[[str, int], Awaitable[None]]:
    """Return what asks a node by one channel for all times, and then does not want to know."""
    channels: list[grpc.aio.Channel] = []

    async def ask_and_give_up(url: str, _times: int) -> None:
        if not channels:
            channels.append(grpc.aio.insecure_channel(url.removeprefix("grpc://")))
            await channels[0].channel_ready()
        call = channels[0].unary_unary("/engram_store.v1.TableService/ListTables")(b"", timeout=30.0)
        asking = asyncio.ensure_future(ask(call))
        await _some_turns()
        asking.cancel()
        await asyncio.wait((asking,))

    return ask_and_give_up


async def _some_turns() -> None:
    for _ in range(5):  # what was begun waits for the node by then
        await asyncio.sleep(0)


async def _plainly(call: grpc.aio.UnaryUnaryCall) -> bytes:
    return await call


HABITS: dict[str, Callable[[str, int], Awaitable[None]]] = {
    "reconnecting": reconnecting,
    "blocking": blocking,
    "closed-early": closed_early,
    "given-up": given_up(answer_to),
    "given-up-plainly": given_up(_plainly),
}


def bytes_lost_each_time(habit: str, url: str) -> float:
    """Have a process do it, and return what it found."""
    command = [sys.executable, "-m", "support.lost_memory", habit, url]
    ended = subprocess.run(command, env=with_tests(), capture_output=True, text=True, timeout=100, check=True)
    return float(ended.stdout)


async def _main(habit: str, url: str) -> None:
    act, times = HABITS[habit], itertools.count()
    for _ in range(_WARM_UP):
        await act(url, next(times))
    looks = []
    for _ in range(_WINDOWS):
        for _ in range(_WINDOW - _QUIETEST_OF):
            await act(url, next(times))
        gc.collect()  # else what waits for it counts, too
        quietest = sys.maxsize
        for _ in range(_QUIETEST_OF):
            await act(url, next(times))
            quietest = min(quietest, _libc.mallinfo2().in_use)
        looks.append(quietest)
    # The median of all slopes between two looks: no single look that is off moves it.
    pairs = itertools.combinations(enumerate(looks), 2)
    print(statistics.median((after - before) / (j - i) / _WINDOW for (i, before), (j, after) in pairs))


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
