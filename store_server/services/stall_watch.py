"""Ends calls whose clients take no replies, and looks after the number of connections."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

import structlog

if TYPE_CHECKING:
    from store_server.limits.connections import Connections
    from store_server.services.calls import Calls

log = structlog.get_logger()
_LOOK_SECONDS: Final = 1.0


class StallWatch:
    """Looks every `look_seconds`, from `start` to `close` or as long as a block lasts. Belongs to the event loop.

    A call is ended with a status first. A client that does not take that either has its connection cut off, and with it
    whatever else is on it: gRPC would hold the replies for as long as the connection lasts.
    """

    def __init__(
        self, calls: Calls, connections: Connections, stall_seconds: float, *, look_seconds: float = _LOOK_SECONDS
    ) -> None:
        self.stalled = 0
        """How many calls were ended."""
        self._calls = calls
        self._connections = connections
        self._stall_seconds = stall_seconds
        self._look_seconds = look_seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._look_seconds)
            try:
                await self._look(time.monotonic())
            except Exception:  # a mistake of ours: without this task a stuck client would stay for ever
                log.exception("could not look at the connections")

    async def _look(self, now: float) -> None:
        for call in tuple(self._calls.open):
            self.stalled += call.stall(now, self._stall_seconds)
        stuck = {call.context.peer() for call in self._calls.open if call.is_stuck(now)}
        await asyncio.to_thread(self._connections.look)
        for peer in stuck:
            ended = await asyncio.to_thread(self._connections.end, peer)
            log.warning("a client takes no replies", peer=peer, cut_off=ended)
