"""What clients are told of a stop before it comes, and how long the node waits for them to go elsewhere."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from engram_store import codec

if TYPE_CHECKING:
    from store_server.services.under_way import CallsUnderWay

_QUIET_SECONDS: Final = 0.5  # without a lookup, after which those who had one to send have heard


class Draining:
    """Whether a node has announced that it stops; it serves on until clients had time to hear. Of the event loop."""

    def __init__(self) -> None:
        self.is_announced = False
        self._asked_at = math.inf  # by the clock of the loop: the last lookup since the announcement, or that itself

    def announce(self) -> None:
        """Tell it from now on in all replies that have room for it."""
        self.is_announced = True
        self._asked_at = asyncio.get_running_loop().time()

    def told_in(self, stream_reply: bytes) -> bytes:
        """Return a reply on a stream that tells of the stop, once it is announced."""
        if not self.is_announced:
            return stream_reply
        self.count_lookup()
        return codec.with_draining(stream_reply)

    def count_lookup(self) -> None:
        """Take note that somebody asks still."""
        if self.is_announced:
            self._asked_at = asyncio.get_running_loop().time()

    def is_quiet(self, under_way: CallsUnderWay) -> bool:
        """Tell whether it is announced and nobody asks any more: see `nobody_asks`."""
        now = asyncio.get_running_loop().time()
        return self.is_announced and (under_way.number == 0 or self._asked_at + _QUIET_SECONDS <= now)

    async def nobody_asks(self, under_way: CallsUnderWay, *, most_seconds: float) -> bool:
        """Wait until no lookup has come for a moment or no call is `under_way`, open streams included.

        Tells whether it has come to that in time. Several may wait, one after the other or at the same time.
        """
        clock = asyncio.get_running_loop().time
        latest = clock() + most_seconds
        while (now := clock()) < min(latest, self._asked_at + _QUIET_SECONDS):
            with suppress(TimeoutError):
                async with asyncio.timeout(min(latest, self._asked_at + _QUIET_SECONDS) - now):
                    await under_way.ended()
                    return True
        return self._asked_at + _QUIET_SECONDS <= now
