"""What a node does and holds for its clients: how much of it there may be, and who has how much."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

from store_server import failures
from store_server.limits.fair_turns import FairTurns
from store_server.limits.pool import Pool
from store_server.limits.shares import Shares

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from store_server.limits.limits import Limits

BYTES_OF_ANY_REQUEST: Final = 1024  # what it takes to hold or to answer one, beside its message and its rows
BYTES_OF_ANY_REPLY: Final = 4 << 20  # room for one whose size is not known before a disk is asked
_FOR_REQUESTS: Final = 4  # one part in so many of the bytes in flight is for requests that wait
# In one pass of the event loop a reply is handed to gRPC, in the next its stream comes back to wait. With fewer, who
# has a single stream misses every other turn to those who have many.
_PASSES_A_TURN: Final = 2


class Load:
    """The work of all clients of a node, or of one of its workers. Belongs to the event loop.

    A lookup that cannot be answered on the spot is admitted, waits for its turn, of the event loop or of the threads
    that read disks, and then for room for its reply. What is not admitted is refused at once and never held; what is
    admitted waits for nobody who does not read, as no client can take all the room.
    """

    def __init__(self, limits: Limits, disk_turns: int) -> None:
        self.refused = dict.fromkeys(("max-connections", "max-queued", "max-in-flight-bytes"), 0)
        """How often something was refused, by the limit that was reached."""
        self.waiting = Pool(limits.max_queued)
        self.request_bytes = Pool(limits.max_in_flight_bytes // _FOR_REQUESTS)
        self.reply_bytes = Pool(limits.max_in_flight_bytes - self.request_bytes.most)
        self.disk_turns = FairTurns(disk_turns)
        self.loop_turns = FairTurns(1)
        self.shares = Shares()
        self._for_room: deque[tuple[str, int, asyncio.Future[None]]] = deque()

    @property
    def is_contended(self) -> bool:
        """Whether clients take turns of the event loop: one had more than its share of late, or some wait for a turn.

        All of them, not that one alone: only of those who wait can the one be chosen who had least.
        """
        return self.shares.are_uneven or self.loop_turns.waiting > 0

    def end_loop_turn(self, passes: int) -> None:
        """Let the next one have the turn once the event loop has gone round so often."""
        if passes:
            asyncio.get_running_loop().call_soon(self.end_loop_turn, passes - 1)
        else:
            self.loop_turns.give()

    def of(self, client: str) -> ClientLoad:
        """Return the part that one client has in it."""
        return ClientLoad(self, client)

    async def take_reply_bytes(self, client: str, num_bytes: int) -> None:
        """Wait for room for a reply, and hold it."""
        if not self._for_room and self.reply_bytes.fits(client, num_bytes):
            self.reply_bytes.take(client, num_bytes)
            return
        room = asyncio.get_running_loop().create_future()
        self._for_room.append((client, num_bytes, room))
        try:
            await room
        except asyncio.CancelledError:
            if room.done() and not room.cancelled():  # it came at the same moment
                self.give_reply_bytes(client, num_bytes)
            raise

    def give_reply_bytes(self, client: str, num_bytes: int) -> None:
        """Let go of the room of a reply; who waits for room and fits into it now has it."""
        self.reply_bytes.give(client, num_bytes)
        if not self._for_room:
            return
        for _ in range(len(self._for_room)):
            waits, wanted, room = self._for_room.popleft()
            if room.done():
                continue
            if self.reply_bytes.fits(waits, wanted):
                self.reply_bytes.take(waits, wanted)
                room.set_result(None)
            else:
                self._for_room.append((waits, wanted, room))


class ClientLoad:
    """The part that one client has in the load of a node: what it takes it has to give back, whatever happens."""

    def __init__(self, load: Load, client: str) -> None:
        self._load = load
        self._client = client

    def admit(self, lookups: int, num_bytes: int) -> None:
        """Hold lookups that wait, whose requests have so many bytes. Raises CallFailed where that is too much."""
        load, client = self._load, self._client
        for pool, amount, limit in (
            (load.waiting, lookups, "max-queued"),
            (load.request_bytes, num_bytes, "max-in-flight-bytes"),
        ):
            if not pool.fits(client, amount):
                load.refused[limit] += 1
                raise failures.overloaded(limit, pool.most, pool.taken)
        self.hold(lookups, num_bytes)

    @contextmanager
    def admitted(self, message_bytes: int) -> Iterator[None]:
        """Hold a single call as long as the block lasts. Raises CallFailed."""
        held_bytes = message_bytes + BYTES_OF_ANY_REQUEST
        self.admit(1, held_bytes)
        try:
            yield
        finally:
            self.dismiss(1, held_bytes)

    def hold(self, lookups: int, num_bytes: int) -> None:
        """Hold lookups that were admitted already."""
        self._load.waiting.take(self._client, lookups)
        self._load.request_bytes.take(self._client, num_bytes)

    def dismiss(self, lookups: int, num_bytes: int) -> None:
        """Hold them no longer."""
        self._load.waiting.give(self._client, lookups)
        self._load.request_bytes.give(self._client, num_bytes)

    def takes_reply_now(self, num_bytes: int, cost: int) -> bool:
        """Tell whether a small lookup may be answered on the spot; if so, hold the room of its reply."""
        load, client = self._load, self._client
        if load.is_contended or not load.reply_bytes.fits(client, num_bytes):
            return False
        load.shares.count(client, cost)
        load.reply_bytes.take(client, num_bytes)
        return True

    def has_loop_turn_now(self, cost: int) -> bool:
        """Tell whether the next lookup may be gathered on the event loop at once, and count it as gathered."""
        self._load.shares.count(self._client, cost)
        return not self._load.is_contended

    async def loop_turn(self, cost: int) -> None:
        """Wait for a turn of the event loop, which ends by itself."""
        await self._load.loop_turns.take(self._client, cost)
        self._load.end_loop_turn(_PASSES_A_TURN)

    @asynccontextmanager
    async def disk_turn(self, cost: int) -> AsyncIterator[None]:
        """Wait for one of the threads that read disks, and have it as long as the block lasts."""
        await self._load.disk_turns.take(self._client, cost)
        try:
            yield
        finally:
            self._load.disk_turns.give()

    async def take_reply_bytes(self, num_bytes: int) -> None:
        """Wait for room for a reply, and hold it."""
        await self._load.take_reply_bytes(self._client, num_bytes)

    def give_reply_bytes(self, num_bytes: int) -> None:
        """Let go of the room of a reply."""
        self._load.give_reply_bytes(self._client, num_bytes)
