"""Calls of AdminService, each with a limit, to a node and to each of its processes."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote

from store_server.commands.failure import CommandFailed
from store_server.listen_address import ANY_HOST, UNIX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.message import Message

    from engram_client.keyring import Keyring
    from engram_store.v1 import admin_service_pb2 as pb
    from store_server.commands.connection_options import ConnectionOptions

    _Response = TypeVar("_Response", bound=Message)

_SERVICE: Final = "AdminService"


@dataclass(frozen=True, slots=True)
class Visited:
    """One process of a node: what it said of itself, or why it did not."""

    address: str
    status: pb.GetStatusResponse | None
    failure: str = ""


class NodeCalls:
    """Calls to the node at `address`; each has so many seconds. Raises CommandFailed."""

    def __init__(self, address: str, keyring: Keyring, seconds: float) -> None:
        self.address = address
        self._keyring = keyring
        self._seconds = seconds

    async def call(self, method: str, request: Message, response: type[_Response]) -> _Response:
        """Return the node's answer."""
        return await _call(self.address, self._keyring, self._seconds, method, request, response)

    async def visit_all(self) -> list[Visited]:
        """Ask each process of the node how it is, at the same time; the one at the node's address first."""
        first = await self._visit(self.address)
        if first.status is None:
            return [first]
        others = other_workers(self.address, first.status)
        return [first, *await asyncio.gather(*map(self._visit, others))]

    async def _visit(self, address: str) -> Visited:
        try:
            return Visited(address, await _status_of(address, self._keyring, self._seconds))
        except CommandFailed as error:
            return Visited(address, None, str(error))


@asynccontextmanager
async def nodes_of(url: str, connection: ConnectionOptions, seconds: float) -> AsyncIterator[list[NodeCalls]]:
    """Yield the nodes that a URL names."""
    from engram_client.keyring import Keyring
    from engram_client.security import security_of
    from engram_client.url import parse_url

    parsed = parse_url(url)
    if parsed.scheme == "file":
        raise CommandFailed("file:/// has no node: give the URL of one, such as grpcs://HOST:PORT")
    keyring = Keyring(security_of(os.environ, tls=parsed.scheme == "grpcs", token=None, **connection.for_connect()))
    yield [NodeCalls(address, keyring, seconds) for address in parsed.addresses]


@asynccontextmanager
async def node_of(url: str, connection: ConnectionOptions, seconds: float) -> AsyncIterator[NodeCalls]:
    """Yield the one node that is to be changed."""
    async with nodes_of(url, connection, seconds) as nodes:
        if len(nodes) > 1:
            raise CommandFailed(f"a change is of one node at a time, and {url} names {len(nodes)}: give one of them")
        yield nodes[0]


def other_workers(address: str, status: pb.GetStatusResponse) -> list[str]:
    """Return where the other processes are of the node whose process at `address` says this of itself.

    Beside that address if lookups are taken there, else beside where it says that it takes them.
    """
    from engram_client.url import worker_address

    own = _name_in(status.listen)
    base = address if _name_in(address) in status.workers.listen else _lookups_at(address, status.listen)
    found = (worker_address(base, name) for name in status.workers.listen if name != own)
    return [each for each in found if each is not None]


async def _status_of(address: str, keyring: Keyring, seconds: float) -> pb.GetStatusResponse:
    from engram_store.v1 import admin_service_pb2 as pb

    return await _call(address, keyring, seconds, "GetStatus", pb.GetStatusRequest(), pb.GetStatusResponse)


async def _call(
    address: str, keyring: Keyring, seconds: float, method: str, request: Message, response: type[_Response]
) -> _Response:
    from engram_client.errors import EngramError
    from engram_client.grpc_transport import GrpcTransport

    transport = GrpcTransport(address, retries=False, keyring=keyring)
    try:
        return await transport.call(method, request, response, seconds, service=_SERVICE)
    except EngramError as error:
        raise CommandFailed(str(error)) from error
    finally:
        await transport.close()


def _lookups_at(address: str, listen: str) -> str:
    """Return where a process takes lookups that was asked at `address` and listens at `listen`, as gRPC names it."""
    if listen.startswith(UNIX):
        return f"unix:{quote(listen.removeprefix(UNIX))}"
    host, _, port = listen.rpartition(":")
    if host.strip("[]") in ANY_HOST:
        host = "127.0.0.1" if address.startswith("unix:") else address.rpartition(":")[0]
    return f"{host}:{port}"


def _name_in(address: str) -> str:
    """Return what tells an address from others of the same node: its port, or the name of its socket."""
    return address.rpartition("/")[2] if address.startswith("unix:") else address.rpartition(":")[2]
