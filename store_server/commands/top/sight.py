"""Looks at all processes of a store at the same time; who does not answer is waited for only so long."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from engram_client.grpc_transport import GrpcTransport
    from engram_client.keyring import Keyring
    from engram_store.shard_map import ShardMap
    from engram_store.v1.admin_service_pb2 import GetStatusResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenProcess:
    """What a process said of itself, or why it did not."""

    address: str
    status: GetStatusResponse | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenNode:
    """A node by its name in the shard map, else its address; the process that answers there is the first."""

    name: str
    address: str
    processes: Sequence[SeenProcess]

    @property
    def answering(self) -> int:
        """How many processes answered."""
        return sum(process.status is not None for process in self.processes)

    @property
    def failure(self) -> str:
        """Why one of them did not; "" if all did."""
        return next((process.failure for process in self.processes if process.failure), "")

    def statuses(self) -> Iterator[GetStatusResponse]:
        """Return what those said that answered."""
        return (process.status for process in self.processes if process.status is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """All that was seen at one time, `at` by a clock that is never set."""

    at: float
    nodes: Sequence[SeenNode]


class Sight:
    """Finds the nodes by the newest shard map that any of those tells which it knows, at first those at `addresses`.

    Each call has `seconds`, and a look takes a few of them at most. Belongs to the running event loop.
    """

    def __init__(self, addresses: Sequence[str], keyring: Keyring, seconds: float) -> None:
        self._keyring, self._seconds = keyring, seconds
        self._nodes: Mapping[str, str] = {address: address for address in addresses}
        self._epoch = 0
        self._workers: dict[str, Sequence[str]] = {}  # where each node's workers were when it last answered
        self._transports: dict[str, GrpcTransport] = {}

    async def look(self) -> Look:
        """Ask everybody."""
        at = time.monotonic()
        nodes = await self._ask_nodes()
        if await self._learn_map(nodes):
            nodes = await self._ask_nodes()
        return Look(at=at, nodes=nodes)

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(transport.close() for transport in self._transports.values()))

    async def _ask_nodes(self) -> list[SeenNode]:
        return list(await asyncio.gather(*(self._ask_node(name, address) for name, address in self._nodes.items())))

    async def _ask_node(self, name: str, address: str) -> SeenNode:
        known = self._workers.get(address)
        if known is None:
            first = await self._ask(address)
            if first.status is None:
                return SeenNode(name=name, address=address, processes=(first,))
            known = self._workers[address] = tuple(first.status.workers.listen)
        processes = await asyncio.gather(*map(self._ask, (address, *_others(address, known))))
        if processes[0].status is not None:
            self._workers[address] = tuple(processes[0].status.workers.listen)
        return SeenNode(name=name, address=address, processes=list(_each_once(processes)))

    async def _learn_map(self, nodes: Sequence[SeenNode]) -> bool:
        """Go by a newer map if anybody knows one; tells whether it was so."""
        told = [(status.map_epoch, node.address) for node in nodes for status in node.statuses()]
        epoch, address = max(told, default=(0, ""))
        if epoch <= self._epoch:
            return False
        shard_map = await _map_at(self._transport(address), self._seconds)
        if shard_map is None:  # the nodes that are known are shown; the next look tries again
            return False
        self._epoch = shard_map.epoch
        self._nodes = {node.id: node.address for node in shard_map.nodes}
        return True

    async def _ask(self, address: str) -> SeenProcess:
        return await _asked(address, self._transport(address), self._seconds)

    def _transport(self, address: str) -> GrpcTransport:
        found = self._transports.get(address)
        if found is None:
            found = self._transports[address] = _to(address, self._keyring)
        return found


async def _asked(address: str, transport: GrpcTransport, seconds: float) -> SeenProcess:
    from engram_client.errors import EngramError
    from engram_store.v1 import admin_service_pb2 as pb

    request, response, service = pb.GetStatusRequest(), pb.GetStatusResponse, "AdminService"
    try:
        status = await transport.call("GetStatus", request, response, seconds, service=service)
    except EngramError as error:
        said = " ".join(str(error).split())
        return SeenProcess(address=address, failure=said.removeprefix(f"{address}: "))
    return SeenProcess(address=address, status=status)


async def _map_at(transport: GrpcTransport, seconds: float) -> ShardMap | None:
    from engram_client.errors import EngramError
    from engram_store.shard_map import InvalidShardMap, from_message

    try:
        return from_message((await transport.get_shard_map(0, seconds)).map)
    except (EngramError, InvalidShardMap):
        return None


def _to(address: str, keyring: Keyring) -> GrpcTransport:
    from engram_client.grpc_transport import GrpcTransport

    return GrpcTransport(address, retries=False, keyring=keyring)


def _others(address: str, listen: Sequence[str]) -> list[str]:
    """Return where the other workers of a node are."""
    from engram_client.url import worker_address

    found = {worker_address(address, each) for each in listen} - {address}
    return sorted(other for other in found if other is not None)


def _each_once(processes: Sequence[SeenProcess]) -> Iterator[SeenProcess]:
    """Leave out a process that was reached by two ways: a node's address may lead to any of its workers."""
    known: set[tuple[int, int]] = set()
    for process in processes:
        if process.status is not None:
            identity = (process.status.pid, process.status.started_at_ns)
            if identity in known:
                continue
            known.add(identity)
        yield process
