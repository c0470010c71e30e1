"""What the standard health service says of a node: of all of it, under no name, and of each table under its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grpc_health.v1 import health, health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Mapping

    import grpc

    from store_server.catalog import TableState

SERVICE: Final = health.SERVICE_NAME
_Response = health_pb2.HealthCheckResponse


class HealthReport:
    """Who watches is told of each change. Belongs to the event loop."""

    def __init__(self) -> None:
        self._servicer = health.aio.HealthServicer()
        self._reported: set[str] = set()

    def serve_on(self, server: grpc.aio.Server) -> None:
        """Let a server answer for it."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

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


def _status(*, is_served: bool) -> health_pb2.HealthCheckResponse.ServingStatus:
    return _Response.SERVING if is_served else _Response.NOT_SERVING
