"""Three ways to have several fetches under way, one for each kind of client."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from bench.store_bench.round import Fetch, Round
from numpy.typing import NDArray


async def on_the_loop(round_: Round, fetch: Callable[[Fetch], Awaitable[NDArray[np.uint8]]]) -> None:
    """A task a lane, for a client that is asynchronous."""

    async def lane(number: int) -> None:
        for one in round_.fetches(number):
            one.end(await fetch(one))

    await asyncio.gather(*(lane(number) for number in range(round_.in_flight)))


def in_threads(round_: Round, fetch: Callable[[int, Fetch], NDArray[np.uint8]]) -> None:
    """A thread a lane, for a client that blocks; `fetch` is told the lane, to use that one's connection."""

    def lane(number: int) -> None:
        for one in round_.fetches(number):
            one.end(fetch(number, one))

    if round_.in_flight == 1:
        lane(0)  # a thread would only add its switches
        return
    with ThreadPoolExecutor(round_.in_flight) as threads:
        for done in [threads.submit(lane, number) for number in range(round_.in_flight)]:
            done.result()


def pipelined(round_: Round, send: Callable[[Fetch], None], receive: Callable[[Fetch], NDArray[np.uint8]]) -> None:
    """All lanes on one connection that answers in order, for a client that can ask ahead."""
    lanes = [round_.fetches(number) for number in range(round_.in_flight)]
    under_way: deque[tuple[int, Fetch]] = deque()

    def ask(number: int) -> None:
        one = next(lanes[number], None)
        if one is not None:
            send(one)
            under_way.append((number, one))

    for number in range(round_.in_flight):
        ask(number)
    while under_way:
        number, one = under_way.popleft()
        one.end(receive(one))
        ask(number)
