"""Hands out the blocks of a data root as long as somebody publishes from it: a node's BlockService without the node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import grpc

from store_server.access.access_config import AccessConfig
from store_server.access.node_access import NodeAccess
from store_server.access.server_credentials import ServerCredentials
from store_server.access.server_port import open_port, require_safe
from store_server.limits.connections import Connections
from store_server.limits.half_sent import HalfSent
from store_server.limits.limits import Limits
from store_server.limits.load import Load
from store_server.listen_address import ListenAddress
from store_server.services.blocks import BlockService
from store_server.services.calls import Calls
from store_server.services.stall_watch import StallWatch

if TYPE_CHECKING:
    from pathlib import Path

    from store_server.storage import DataRoot
    from store_server.tls_config import TlsConfig

_THREADS: Final = 4
_LAST_TURNS_SECONDS: Final = 1.0
_OPTIONS: Final = (("grpc.so_reuseport", 0), ("grpc.max_send_message_length", -1))


@asynccontextmanager
async def serving_blocks(
    root: DataRoot, listen: str, tls: TlsConfig | None = None, *, tokens: Path | None = None, insecure: bool = False
) -> AsyncIterator[str]:
    """Serve at HOST:PORT, by which nodes reach this host, as long as the block lasts; yields the address.

    `tokens` is the file of credentials that names who may fetch; None admits anybody. A bad block is not sent, and the
    data root stays as it is. Raises ValueError, CannotListen, CredentialsRefused.
    """
    address = ListenAddress.parse(listen)
    how = "give the certificate that nodes are to see, --cert-file and --key-file"
    require_safe(address, is_encrypted=tls is not None, is_allowed=insecure, how=how)
    credentials = None if tls is None else await asyncio.to_thread(ServerCredentials, tls)
    access = NodeAccess(AccessConfig(tokens=tokens), tls)
    await asyncio.to_thread(address.require_free)
    of_others = asyncio.all_tasks()
    server = grpc.aio.server(options=_OPTIONS)
    with ThreadPoolExecutor(_THREADS) as threads:
        limits = Limits()
        load = Load(limits, _THREADS)
        half_sent = HalfSent(load.request_bytes.most, limits.max_metadata_bytes)
        connections = Connections(limits.max_connections, half_sent)
        calls = Calls(load, access.callers, connections=connections)
        server.add_generic_rpc_handlers((BlockService(root, threads, lambda *_: None).handler(calls),))
        port = open_port(server, address, credentials)
        await server.start()
        connections.listen_on(0 if address.path else port)
        access.start()
        try:
            async with StallWatch(calls, connections, limits.stall_seconds):
                yield address.for_clients(port)
        finally:
            await server.stop(None)
            await access.close()
            await _last_turns(asyncio.all_tasks() - of_others)


async def _last_turns(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Let calls that were cut off come to their end: gRPC prints a traceback of each that the loop's end finds."""
    if left := set(tasks) - {asyncio.current_task()}:
        await asyncio.wait(left, timeout=_LAST_TURNS_SECONDS)
