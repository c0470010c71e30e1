"""The way to an address: its name, and a connection that carries nothing yet."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote

from store_server.commands.doctor.finding import fail, ok

if TYPE_CHECKING:
    import ssl

    from store_server.commands.doctor.finding import Finding

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A gRPC target taken apart: a host and a port, or the path of a Unix socket."""

    address: str
    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def of(cls, address: str) -> Place:
        """Take apart HOST:PORT, [IPV6]:PORT or unix:PATH."""
        if address.startswith("unix:"):
            return cls(address=address, path="/" + unquote(address.removeprefix("unix:")).lstrip("/"))
        host, _, port = address.rpartition(":")
        return cls(address=address, host=unquote(host.strip("[]")), port=int(port))


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What became of the first steps; `ip` is "" for a Unix socket."""

    place: Place
    ip: str = ""
    findings: tuple[Finding, ...] = ()
    is_open: bool = False


async def try_way(place: Place, seconds: float) -> Way:
    """Resolve the name, unless it is an address already, and connect to what it stands for, one after the other."""
    try:
        async with asyncio.timeout(seconds):
            ips = [""] if place.path else await _resolve(place)
    except (OSError, TimeoutError) as error:
        return Way(place=place, findings=(_unresolved(place, error, seconds),))
    findings = [] if ips == [place.host] or place.path else [ok("name", place.host, f"stands for {', '.join(ips)}")]
    for ip in ips:
        began = time.monotonic()
        try:
            _, writer = await open_connection(place, ip, seconds)
        except (OSError, TimeoutError) as error:
            findings.append(_unreachable(place, ip, error, seconds))
            continue
        took = time.monotonic() - began
        writer.close()
        reached = f"connected{f' to {ip}' if ip != place.host and ip else ''} in {took * 1e3:.1f} ms"
        # gRPC tries all addresses of a name, too: one that is reached is enough.
        kept = (finding for finding in findings if finding.check == "name")
        return Way(place=place, ip=ip, findings=(*kept, ok("connection", place.address, reached)), is_open=True)
    return Way(place=place, findings=tuple(findings))


async def open_connection(place: Place, ip: str, seconds: float, context: ssl.SSLContext | None = None) -> Streams:
    """Connect, with TLS if a context is given. Raises OSError or TimeoutError."""
    server_hostname = (place.host or "localhost") if context is not None else None
    async with asyncio.timeout(seconds):
        if place.path:
            return await asyncio.open_unix_connection(place.path, ssl=context, server_hostname=server_hostname)
        return await asyncio.open_connection(ip, place.port, ssl=context, server_hostname=server_hostname)


async def _resolve(place: Place) -> list[str]:
    """Return the addresses of a name, in a thread that nobody waits for: there is no way to end one that hangs."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def settle(ips: list[str], error: OSError | None) -> None:
        if not found.done():
            found.set_result(ips) if error is None else found.set_exception(error)

    def look() -> None:
        ips, failure = [], None
        try:
            infos = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
            ips = list(dict.fromkeys(str(info[4][0]) for info in infos))
        except (OSError, UnicodeError) as error:
            failure = OSError(str(error)) if isinstance(error, UnicodeError) else error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, ips, failure)

    threading.Thread(target=look, daemon=True).start()
    return await found


def _unresolved(place: Place, error: Exception, seconds: float) -> Finding:
    why = f"no answer within {seconds:g} s" if isinstance(error, TimeoutError) else f"{error}"
    change = "correct the name in the URL, or add it to DNS or /etc/hosts of this host"
    return fail("name", place.host, f"cannot be resolved: {why}", change)


def _unreachable(place: Place, ip: str, error: Exception, seconds: float) -> Finding:
    at = f" at {ip}" if ip and ip != place.host else ""
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        change = "start the node, or correct the address: --listen of `engram-store serve` says where a node is"
        return fail("connection", place.address, f"nobody listens there{at}", change)
    why = f"no answer within {seconds:g} s" if isinstance(error, TimeoutError) else str(error)
    change = "open the port in the firewalls and network policies between this host and the node"
    return fail("connection", place.address, f"cannot connect{at}: {why}", change)
