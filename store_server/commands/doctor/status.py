"""What nodes say of themselves to those who run them: of which version they are, and what their clocks show."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from store_server.commands.doctor.finding import ok, unknown, warn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from engram_client.errors import EngramError
    from engram_client.grpc_transport import GrpcTransport
    from engram_client.keyring import Keyring
    from store_server.commands.doctor.finding import Finding

_NUM_ASKED: Final = 3
_BEARABLE_SECONDS: Final = 5.0  # as late as calls are ended whose credential has
_CHANGES: Final = {
    "PermissionDenied": "have the scope `read` or `admin` given to this token",
    "ProtocolError": "the node may be older than its status: see engram_build_info among its metrics",
}
_OTHER_CHANGE: Final = "run `engram-store doctor --root ROOT` on the node"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenStatus:
    """What a node said, of several answers the one that was the least time under way."""

    version: str
    ahead_seconds: float
    """By how much its clock is before that of this host; negative if behind."""
    give_or_take_seconds: float
    """How wrong `ahead_seconds` may be: the answer may have been under way longer in one direction."""


async def ask_status(address: str, keyring: Keyring, seconds: float) -> SeenStatus | EngramError:
    """Ask a node by a connection for this alone; returns why it does not say."""
    from engram_client.errors import EngramError
    from engram_client.grpc_transport import GrpcTransport

    transport = GrpcTransport(address, retries=False, keyring=keyring)
    try:
        await transport.get_shard_map((1 << 63) - 1, seconds)  # to connect takes longer than to answer
        seen = [await _ask_once(transport, seconds) for _ in range(_NUM_ASKED)]
    except EngramError as error:
        return error
    finally:
        await transport.close()
    return min(seen, key=lambda each: each.give_or_take_seconds)


async def ask_all(addresses: Mapping[str, str], keyring: Keyring, seconds: float) -> dict[str, SeenStatus]:
    """Ask nodes, by their names, at the same time; returns what those said that did."""
    answers = await asyncio.gather(*(ask_status(address, keyring, seconds) for address in addresses.values()))
    found = zip(addresses, answers, strict=True)
    return {name: answer for name, answer in found if isinstance(answer, SeenStatus)}


async def _ask_once(transport: GrpcTransport, seconds: float) -> SeenStatus:
    from engram_store.v1 import admin_service_pb2 as pb

    sent, began = time.time(), time.perf_counter()
    request, response, service = pb.GetStatusRequest(), pb.GetStatusResponse, "AdminService"
    status = await transport.call("GetStatus", request, response, seconds, service=service)
    half = (time.perf_counter() - began) / 2
    return SeenStatus(
        version=status.program_version,
        ahead_seconds=status.now_ns / 1e9 - (sent + half),
        give_or_take_seconds=half,
    )


def judge_status(address: str, answer: SeenStatus | EngramError, own_version: str) -> Iterator[Finding]:
    """Yield what the version and the clock of a node come to."""
    if not isinstance(answer, SeenStatus):
        change = _CHANGES.get(type(answer).__name__, _OTHER_CHANGE)
        yield unknown("version", address, f"the node does not say: {answer}", change)
        yield unknown("clock", address, "the node does not say", change)
        return
    other = "" if answer.version == own_version else f", this client is of {own_version}"
    yield ok("version", address, f"engram-store {answer.version}{other}")
    yield judge_clock(address, answer)


def judge_clock(address: str, seen: SeenStatus) -> Finding:
    """Return whether two clocks are near enough for credentials that begin and end."""
    direction = "ahead of" if seen.ahead_seconds >= 0 else "behind"
    off, doubt = abs(seen.ahead_seconds), seen.give_or_take_seconds
    found = f"{off:.3f} s {direction} this host, give or take {doubt:.3f} s"
    if off - doubt <= _BEARABLE_SECONDS:
        return ok("clock", address, found)
    change = "run chronyd or systemd-timesyncd on both: certificates and tokens begin and end by these clocks"
    return warn("clock", address, f"{found}; above {_BEARABLE_SECONDS:g} s", change)


def judge_versions(cluster: str, versions: Mapping[str, str]) -> Iterator[Finding]:
    """Yield whether all nodes of a cluster are of one version."""
    if len(set(versions.values())) > 1:
        found = ", ".join(f"{node} {version}" for node, version in sorted(versions.items()))
        yield warn("versions", cluster, found, "upgrade those that are behind; nodes of two releases work together")
    elif versions:
        yield ok("versions", cluster, f"all nodes are of {next(iter(versions.values()))}")
