"""What clients are told of a stop before it comes, and how long the node waits for them to go elsewhere."""

from __future__ import annotations

import asyncio
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
        self._until_quiet: asyncio.Timeout | None = None

    def announce(self) -> None:
        """Tell it from now on in all replies that have room for it."""
        self.is_announced = True

    def told_in(self, stream_reply: bytes) -> bytes:
        """Return a reply on a stream that tells of the stop, once it is announced."""
        if not self.is_announced:
            return stream_reply
        self.count_lookup()
        return codec.with_draining(stream_reply)

    def count_lookup(self) -> None:
        """Take note that somebody asks still."""
        if self._until_quiet is not None and not self._until_quiet.expired():
            self._until_quiet.reschedule(asyncio.get_running_loop().time() + _QUIET_SECONDS)

    async def nobody_asks(self, under_way: CallsUnderWay, *, most_seconds: float) -> bool:
        """Wait until no lookup has come for a moment or no call is `under_way`, open streams included.

        Tells whether it has come to that in time.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(most_seconds) as limit, asyncio.timeout(_QUIET_SECONDS) as self._until_quiet:
                await under_way.ended()
        self._until_quiet = None
        return not limit.expired()
