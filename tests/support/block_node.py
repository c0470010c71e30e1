"""A gRPC server that hands out blocks of a data root, for tests without the rest of a node."""

import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from store_server.limits.connections import Connections
from store_server.limits.limits import Limits
from store_server.limits.load import Load
from store_server.node_port import GRPC_OPTIONS
from store_server.services.blocks import BlockService
from store_server.services.calls import Calls
from store_server.services.stall_watch import StallWatch
from store_server.storage import DataRoot
from store_server.storage.block_writer import BlockWriter
from store_server.storage.stored_version import StoredVersion


def quarantine(stored: StoredVersion, block: int) -> None:
    """What a node does with a bad block."""
    with BlockWriter(stored) as writer:
        writer.quarantine(block)


@contextlib.asynccontextmanager
async def block_node(
    root: Path,
    quarantine: Callable[[StoredVersion, int], None] = quarantine,
    *,
    socket: Path | None = None,
    stall_seconds: float = 60.0,
    credentials: grpc.ServerCredentials | None = None,
    tokens: list[str] | None = None,
) -> AsyncIterator[str]:
    """Serve the blocks of a data root, at a free port or a Unix socket, as long as the block lasts; yields where.

    With TLS if there are `credentials`. What calls bear as authorization is added to `tokens`.
    """
    server = grpc.aio.server(options=GRPC_OPTIONS, interceptors=(_Tokens(tokens),))
    with ThreadPoolExecutor(8) as executor:
        service = BlockService(DataRoot.open(root), executor, quarantine)
        connections = Connections(100)
        calls = Calls(Load(Limits(), 8), connections=connections)
        server.add_generic_rpc_handlers((service.handler(calls),))
        address = f"unix:{socket}" if socket else "127.0.0.1:0"
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        await server.start()
        connections.listen_on(0 if socket else port)
        try:
            async with StallWatch(calls, connections, stall_seconds, look_seconds=0.05):
                yield f"unix://{socket}" if socket else f"127.0.0.1:{port}"
        finally:
            await server.stop(None)


class _Tokens(grpc.aio.ServerInterceptor):
    def __init__(self, tokens: list[str] | None) -> None:
        self._tokens = tokens

    async def intercept_service(self, continuation, details):
        if self._tokens is not None:
            self._tokens.append(dict(details.invocation_metadata).get("authorization", ""))
        return await continuation(details)
