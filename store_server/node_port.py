"""Where a node takes calls: an address with a server of gRPC's, its connections, and what calls there pass."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import grpc

from store_server.access.server_port import open_port
from store_server.limits.connections import Connections
from store_server.limits.half_sent import HalfSent
from store_server.services.calls import Calls
from store_server.services.stall_watch import StallWatch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from store_server.access.access import Access
    from store_server.access.server_credentials import ServerCredentials
    from store_server.limits.limits import Limits
    from store_server.limits.load import Load
    from store_server.listen_address import ListenAddress
    from store_server.observing.call_observer import CallObserver

GRPC_OPTIONS: Final = (
    # Two servers that share a port in silence would answer each other's clients.
    ("grpc.so_reuseport", 0),
    ("grpc.max_send_message_length", -1),  # replies to lookups have their own limit, manifests that of who copies
    # Clients may ping every ten seconds to notice a node that vanished.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # A client that vanished in mid-stream is noticed, and its stream ended, within two minutes.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)


class NodePort:
    """From `open` to `close`. `calls` makes the handlers of what is served here. Belongs to the event loop."""

    def __init__(self, limits: Limits, load: Load, access: Access, observer: CallObserver) -> None:
        half_sent = HalfSent(load.request_bytes.most, limits.max_metadata_bytes)
        self.connections = Connections(limits.max_connections, half_sent)
        self.calls = Calls(load, access, observer, self.connections)
        self.stall_watch = StallWatch(self.calls, self.connections, limits.stall_seconds)
        self._server = grpc.aio.server(options=(*GRPC_OPTIONS, *limits.grpc_options()))

    async def open(
        self,
        listen: ListenAddress,
        credentials: ServerCredentials | None,
        handlers: Iterable[grpc.GenericRpcHandler],
    ) -> str:
        """Take calls from now on, and return the address for clients. Raises CannotListen."""
        self._server.add_generic_rpc_handlers(tuple(handlers))
        # Also where it was asked before: somebody may have taken it since, and only this says so in one line.
        await asyncio.to_thread(listen.require_free)
        port = open_port(self._server, listen, credentials)
        self.connections.listen_on(0 if listen.path else port)
        await self._server.start()
        self.stall_watch.start()
        return listen.for_clients(port)

    async def stop(self, seconds: float) -> None:
        """Take no more calls; those that are under way have so long."""
        await self._server.stop(seconds)

    async def ended(self) -> None:
        """Wait until gRPC's server has ended, as `stop` and `close` make it end and a mistake of its own may."""
        await self._server.wait_for_termination()

    async def close(self) -> None:
        """End all calls at once."""
        await self.stall_watch.close()
        await self._server.stop(None)
