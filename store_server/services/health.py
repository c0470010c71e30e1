"""What the standard health service says of a node: of all of it, under no name, and of each table under its own.

Of a table that a caller may not read it says what it says of one that is not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias

import grpc
from grpc_health.v1 import health, health_pb2

from store_server import failures
from store_server.access.caller import Scope
from store_server.limits.pool import Pool
from store_server.services.call import Call
from store_server.services.calls import Calls, parsed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from store_server.catalog import TableState

SERVICE: Final = health.SERVICE_NAME
_Response = health_pb2.HealthCheckResponse
_Status: TypeAlias = "health_pb2.HealthCheckResponse.ServingStatus"
_NO_TABLE: Final = "\0"
_LONGEST_NAME: Final = 200
_MOST_WATCHES: Final = 1024
_WATCH_SECONDS: Final = 600.0


Readiness: TypeAlias = Callable[[bool], None]
"""Is told whether clients are served, again and again."""


class HealthReport:
    """Who watches is told of each change. Belongs to the event loop.

    Whoever does not read what is written is waited for by nobody but its own call, unlike in gRPC's servicer: there one
    watcher that took no replies kept all others, and whoever told of a change, waiting for as long as it liked.

    Of the watches that there may be at a time one caller has half at most. Each ends after `watch_seconds`, without an
    error: who wants to go on begins another, as gRPC's clients do.

    `readiness` is told what the report says of the whole node, under no name.
    """

    def __init__(self, *, most_watches: int = _MOST_WATCHES, watch_seconds: float = _WATCH_SECONDS) -> None:
        self._watches = Pool(most_watches)
        self._watch_seconds = watch_seconds
        self.readiness: Readiness = lambda _: None
        self._statuses: dict[str, _Status] = {"": _Response.NOT_SERVING}
        self._has_ended = False
        self._changed = asyncio.Event()  # another one after each change

    def handler(self, calls: Calls) -> grpc.GenericRpcHandler:
        """Return what serves it."""
        methods = {
            "Check": calls.one_reply(SERVICE, "Check", (), self._check),
            "Watch": calls.many_replies(SERVICE, "Watch", (), self._watch),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def tell(self, tables: Mapping[str, TableState], *, is_ready: bool) -> None:
        """Say which tables are served, and that none is as long as the node is not ready for clients."""
        served = {name: is_ready and state.opened_current() is not None for name, state in tables.items()}
        self._become(
            {
                "": _status(is_served=is_ready),
                **{name: _status(is_served=is_served) for name, is_served in served.items()},
            }
        )
        self.readiness(is_ready and not self._has_ended)

    def tell_end(self) -> None:
        """Say that nothing is served, whatever is told after this: the node is about to stop."""
        self._become(dict.fromkeys(self._statuses, _Response.NOT_SERVING))
        self._has_ended = True
        self.readiness(False)

    def _become(self, statuses: dict[str, _Status]) -> None:
        if statuses != self._statuses and not self._has_ended:
            self._statuses = statuses
            self._changed.set()
            self._changed = asyncio.Event()

    async def _check(self, message: bytes, call: Call) -> bytes:
        name = _asked(message)
        status = self._statuses.get(_seen(name, call))
        if status is None:
            raise failures.table_not_found(name[:_LONGEST_NAME], "this node")
        return _response(status)

    async def _watch(self, message: bytes, call: Call) -> None:
        name, client = _seen(_asked(message), call), call.caller.key
        if not self._watches.fits(client, 1):
            raise failures.too_many_watches(self._watches.most)
        self._watches.take(client, 1)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._watch_seconds):
                    await self._tell_changes(name, call)
        finally:
            self._watches.give(client, 1)

    async def _tell_changes(self, name: str, call: Call) -> None:
        told = None
        while True:
            changed = self._changed  # before the status is looked at, so that no change is missed meanwhile
            status = self._statuses.get(name, _Response.SERVICE_UNKNOWN)
            if status != told:
                await call.write(_response(status))
                told = status
            await changed.wait()


def _asked(message: bytes) -> str:
    return str(parsed(health_pb2.HealthCheckRequest(), message).service)


def _seen(name: str, call: Call) -> str:
    """Return the table that is asked for; one that the caller may not read is as good as none."""
    return name if not name or call.caller.may(Scope.READ, name) else _NO_TABLE


def _response(status: _Status) -> bytes:
    return bytes(_Response(status=status).SerializeToString())


def _status(*, is_served: bool) -> _Status:
    return _Response.SERVING if is_served else _Response.NOT_SERVING
