"""What the standard health service says of a node: of all of it, under no name, and of each table under its own.

Of a table that a caller may not read it says what it says of one that is not there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc_health.v1 import health, health_pb2

from store_server.access.caller import Scope
from store_server.services.call import Call
from store_server.services.calls import Calls, parsed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from store_server.catalog import TableState

SERVICE: Final = health.SERVICE_NAME
_Response = health_pb2.HealthCheckResponse
_NO_TABLE: Final = "\0"


class HealthReport:
    """Who watches is told of each change. Belongs to the event loop."""

    def __init__(self) -> None:
        self._servicer = health.aio.HealthServicer()
        self._reported: set[str] = set()

    def handler(self, calls: Calls) -> grpc.GenericRpcHandler:
        """Return what serves it."""
        methods = {
            "Check": calls.one_reply(SERVICE, "Check", (), self._check),
            "Watch": calls.many_replies(SERVICE, "Watch", (), self._watch),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def tell(self, tables: Mapping[str, TableState], *, is_ready: bool) -> None:
        """Say which tables are served, and that none is as long as the node is not ready for clients."""
        await self._servicer.set("", _status(is_served=is_ready))
        for gone in self._reported - tables.keys():
            await self._servicer.set(gone, _Response.SERVICE_UNKNOWN)
        self._reported = set(tables)
        for name, state in tables.items():
            await self._servicer.set(name, _status(is_served=is_ready and state.opened_current() is not None))

    async def tell_end(self) -> None:
        """Say that nothing is served, whatever is told after this: the node is about to stop."""
        await self._servicer.enter_graceful_shutdown()

    async def _check(self, message: bytes, call: Call) -> bytes:
        response: health_pb2.HealthCheckResponse = await self._servicer.Check(_asked(message, call), call.context)
        return bytes(response.SerializeToString())

    async def _watch(self, message: bytes, call: Call) -> None:
        await self._servicer.Watch(_asked(message, call), _Messages(call))


class _Messages:
    """Takes messages as gRPC's own context does: a call takes bytes."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def write(self, response: Any) -> None:  # noqa: ANN401
        await self._call.write(response.SerializeToString())


def _asked(message: bytes, call: Call) -> health_pb2.HealthCheckRequest:
    request = parsed(health_pb2.HealthCheckRequest(), message)
    if request.service and not call.caller.may(Scope.READ, request.service):
        return health_pb2.HealthCheckRequest(service=_NO_TABLE)
    return request


def _status(*, is_served: bool) -> health_pb2.HealthCheckResponse.ServingStatus:
    return _Response.SERVING if is_served else _Response.NOT_SERVING
