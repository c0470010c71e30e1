"""What a node answers to calls: whether it takes the token, which workers it has, which tables, how fast."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from store_server.commands.doctor.finding import fail, ok, warn
from store_server.commands.doctor.link import Place, try_way

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from engram_client.grpc_transport import GrpcTransport
    from engram_client.keyring import Keyring
    from engram_client.table_info import TableInfo
    from store_server.commands.doctor.finding import Finding

_NUM_ROUND_TRIPS: Final = 9
_SLOW_SECONDS: Final = 0.005
_CHANGES: Final = {
    "Unauthenticated": "give --token-file a token that is let in: `engram-store token new` makes one",
    "PermissionDenied": "have the scope `read` given to this token, see `engram-store token list`",
    "TimeLimitExceeded": "see whether the node is overloaded or hangs, in its log and its metrics",
    "Overloaded": "see what keeps the node busy; raise its limits, or add nodes",
    "ProtocolError": "see whether a node of engram-store listens there, of a version that this client knows",
}
_OTHER_CHANGE: Final = "see the node's log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What one node said of itself."""

    tables: Sequence[TableInfo]
    map_epoch: int
    listen: tuple[str, ...]
    node: str


def call_failed(check: str, subject: str, error: Exception) -> Finding:
    """Return the finding that a call failed, in the words of the client."""
    return fail(
        check, subject, str(error).removeprefix(f"{subject}: "), _CHANGES.get(type(error).__name__, _OTHER_CHANGE)
    )


async def ask(address: str, transport: GrpcTransport, seconds: float) -> tuple[Answered | None, list[Finding]]:
    """Ask a node for its tables. None if it does not answer: then the finding says why."""
    from engram_client.errors import EngramError

    try:
        tables = await transport.list_tables(seconds)
        trip = await _round_trip_seconds(transport, seconds)
    except EngramError as error:
        return None, [call_failed("calls", address, error)]
    findings = [ok("calls", address, "answered, protocol engram_store.v1"), judge_round_trip(address, trip)]
    if transport.draining:
        change = "start it again, or take it out of the URL: clients go to other nodes meanwhile"
        findings.append(warn("draining", address, "the node is about to stop", change))
    said = transport.workers
    return Answered(tables=tables, map_epoch=transport.map_epoch, listen=tuple(said.listen), node=said.node), findings


def judge_access(address: str, *, shows_token: bool, tables: Sequence[TableInfo]) -> Finding:
    """Return what the tables that are seen say of the right to see them."""
    shown = "the token is taken" if shows_token else "no token is shown, and none is asked for"
    if tables:
        return ok("access", address, f"{shown}; {len(tables)} table{'s' if len(tables) > 1 else ''} may be read")
    change = "make or attach one; if there are some, have this caller given the scope `read` for their names"
    return warn("access", address, f"{shown}; no table is there that may be read", change)


def judge_round_trip(address: str, seconds: float) -> Finding:
    """Return what the time of an empty call means for rows that a layer waits for."""
    found = f"{seconds * 1e3:.2f} ms, the median of {_NUM_ROUND_TRIPS} calls"
    if seconds <= _SLOW_SECONDS:
        return ok("round trip", address, found)
    change = "bring client and node closer, or see what keeps them busy: rows that come late stop a layer"
    return warn("round trip", address, f"{found}; above {_SLOW_SECONDS * 1e3:g} ms", change)


async def check_workers(address: str, answered: Answered, keyring: Keyring, seconds: float) -> AsyncIterator[Finding]:
    """Yield for each worker's own port whether this client can reach it, and that the node is still the same."""
    from engram_client.errors import EngramError
    from engram_client.grpc_transport import GrpcTransport
    from engram_client.url import worker_address

    if len(answered.listen) < 2:  # one worker is the node
        return
    change = "open the ports of all workers in firewalls, services and network policies; rows go the long way meanwhile"
    for listen in answered.listen:
        worker = worker_address(address, listen)
        if worker is None:
            found = f"a worker listens at {listen!r}, which is no port beside {address}"
            yield warn("worker", address, found, change)
            continue
        way = await try_way(Place.of(worker), seconds)
        if not way.is_open:
            yield warn("worker", worker, way.findings[-1].found, change)
            continue
        transport = GrpcTransport(worker, retries=False, keyring=keyring)
        try:
            await transport.list_tables(seconds)
            if transport.workers.node == answered.node:
                yield ok("worker", worker, "answers")
            else:
                yield warn("worker", worker, "another node answers there", change)
        except EngramError as error:
            yield warn("worker", worker, str(error), change)
        finally:
            await transport.close()


async def _round_trip_seconds(transport: GrpcTransport, seconds: float) -> float:
    took = []
    for _ in range(_NUM_ROUND_TRIPS):
        began = time.perf_counter()
        await transport.get_shard_map((1 << 63) - 1, seconds)  # of an epoch that none is above: an empty answer
        took.append(time.perf_counter() - began)
    return sorted(took)[_NUM_ROUND_TRIPS // 2]
