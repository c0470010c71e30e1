"""One call as a service sees it: who makes it, what it may have, and how it is answered."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

from store_server import failures
from store_server.access.access import OpenAccess
from store_server.limits.half_sent import Arrived
from store_server.observing.call_observer import UNOBSERVED
from store_server.storage import StorageError
from store_server.storage.names import check_table_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc

    from store_server.access.access import Access
    from store_server.access.caller import Caller, Scope
    from store_server.limits.load import ClientLoad
    from store_server.observing.call_observer import ObservedCall

    Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]

_ANYBODY: Final = OpenAccess()
_END_SECONDS: Final = 2.0  # for a client to take the status of a call that was ended


class Call:
    """Belongs to the task that handles it, but for what tells whether it is stuck."""

    __slots__ = (
        "_access",
        "_arrived",
        "_ending_since",
        "_room_bytes",
        "_stalled_seconds",
        "_task",
        "_writing_since",
        "caller",
        "context",
        "load",
        "observed",
    )

    def __init__(
        self,
        caller: Caller,
        context: Context,
        load: ClientLoad,
        observed: ObservedCall = UNOBSERVED,
        access: Access = _ANYBODY,
        arrived: Arrived | None = None,
    ) -> None:
        """`observed` is told of messages, and `arrived` how long those are that came."""
        self._access = access
        self._arrived = arrived or Arrived()
        self.caller = caller
        self.context = context
        self.load = load
        self.observed = observed
        self._stalled_seconds: float | None = None
        self._task = asyncio.current_task()
        self._writing_since: float | None = None
        self._ending_since: float | None = None
        self._room_bytes = 0

    def require(self, scope: Scope, table: str) -> None:
        """Raise what a table that is not there raises, where the caller has no such right on it.

        Whether there is a table that it may not see is nothing that it may learn. Raises CallFailed.
        """
        if self.caller.may(scope, table):
            return
        try:
            check_table_name(table)
        except StorageError as error:
            raise failures.of_storage(error) from error
        self._denied(f"no right to {scope} table {table!r}")
        raise failures.table_not_found(table, "this node")

    def require_any(self, scopes: tuple[Scope, ...]) -> None:
        """Raise where the caller has none of these rights on any table there could be. Raises CallFailed."""
        if scopes and not any(self.caller.may_anywhere(scope) for scope in scopes):
            self._denied(f"no right to {scopes[0]} any table")
            raise failures.permission_denied(self.caller.name, scopes[0])

    def received(self, message: bytes) -> None:
        """Take note of a message that has come."""
        self._arrived.message(len(message))
        self.observed.received()

    async def write(self, reply: bytes) -> None:
        """Send a reply, once the client takes it. One at a time."""
        self._writing_since = time.monotonic()
        self.observed.sent()
        await self.context.write(reply)
        self._writing_since = None

    async def take_room(self, num_bytes: int) -> None:
        """Wait for room for a reply of so many bytes, which the call has until its end."""
        await self.load.take_reply_bytes(num_bytes)
        self._room_bytes += num_bytes

    async def take_room_for(self, reply: bytes) -> None:
        """Wait for what a reply needs beyond the room that the call has."""
        if len(reply) > self._room_bytes:
            await self.take_room(len(reply) - self._room_bytes)

    def give_room(self) -> None:
        """Let go of all its room."""
        if self._room_bytes:
            self.load.give_reply_bytes(self._room_bytes)
            self._room_bytes = 0

    @contextmanager
    def failed_if_stalled(self) -> Iterator[None]:
        """Raise CallFailed where the task was cancelled because a reply was not taken."""
        try:
            yield
        except asyncio.CancelledError:
            if self._stalled_seconds is None or self._task is None:
                raise
            self._task.uncancel()
            raise failures.reads_nothing(self._stalled_seconds) from None

    def _denied(self, reason: str) -> None:
        self._access.denied(self.caller, self.context.peer(), reason)

    def begin_end(self) -> None:
        """Take note that the client is being told of a failure, which it may not take either."""
        self._writing_since, self._ending_since = None, time.monotonic()

    def stall(self, now: float, seconds: float) -> bool:
        """End the call if a reply was not taken for so long; tells whether it was so."""
        if self._writing_since is None or now - self._writing_since <= seconds or self._task is None:
            return False
        self._writing_since, self._stalled_seconds = None, seconds
        self._task.cancel()
        return True

    def is_stuck(self, now: float) -> bool:
        """Tell whether its client takes not even the end."""
        return self._ending_since is not None and now - self._ending_since > _END_SECONDS
