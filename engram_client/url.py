"""The URL of a store: which way to the rows, and where."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final, Literal, TypeAlias
from urllib.parse import quote, unquote

from engram_client.errors import InvalidUrl

DEFAULT_PORT: Final = 50051
_HIGHEST_PORT: Final = 65535
_HOST_AND_PORT: Final = re.compile(r"(\[(?P<ipv6>[^\[\]]+)\]|(?P<name>[A-Za-z0-9._-]+))(:(?P<port>[0-9]{1,5}))?")
_HELP: Final = "give grpcs://HOST:PORT[,HOST:PORT...], grpc:// for plain text, unix:///PATH or file:///ROOT"
Scheme: TypeAlias = Literal["grpc", "grpcs", "unix", "file"]


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A URL taken apart: `addresses` are gRPC targets for grpc, grpcs and unix, a directory for file.

    There is one, but for grpc and grpcs: several nodes of a cluster, any of which will do to find the others.
    """

    text: str
    scheme: Scheme
    addresses: tuple[str, ...]


def parse_url(url: str | os.PathLike[str] | None) -> StoreUrl:
    """Take apart grpc[s]://HOST[:PORT][,HOST[:PORT]...], unix:///PATH or file:///ROOT; None reads ENGRAM_URL."""
    text = _text(url) if url is not None else os.environ.get("ENGRAM_URL", "")
    if not text:
        raise InvalidUrl("no URL given and ENGRAM_URL is not set; " + _HELP)
    scheme, separator, _ = text.partition("://")
    if separator and scheme in ("grpc", "grpcs"):
        hosts = text.removeprefix(f"{scheme}://").removesuffix("/").split(",")
        addresses = tuple(_host_and_port(text, host) for host in hosts)
        return StoreUrl(text, "grpcs" if scheme == "grpcs" else "grpc", addresses)
    if separator and scheme == "unix":
        return StoreUrl(text, "unix", (f"unix:{quote(_absolute_path(text))}",))
    if separator and scheme == "file":
        return StoreUrl(text, "file", (_absolute_path(text),))
    raise InvalidUrl(f"{text!r} is no store; {_HELP}")


def worker_address(address: str, listen: str) -> str | None:
    """Return where another worker of the node at `address` is, which `listen` is its port of or its socket's name.

    None if it cannot be beside `address`: a node that is reached by a detour may speak of another kind of address.
    """
    if address.startswith("unix:"):
        is_name = listen not in ("", ".", "..") and "/" not in listen and "\0" not in listen
        return f"{address.rpartition('/')[0]}/{quote(listen)}" if is_name else None
    is_port = listen.isascii() and listen.isdigit() and 1 <= int(listen) <= _HIGHEST_PORT
    return f"{address.rpartition(':')[0]}:{int(listen)}" if is_port else None


def _text(url: str | os.PathLike[str]) -> str:
    if isinstance(url, str | os.PathLike) and isinstance(text := os.fspath(url), str):
        return text
    raise InvalidUrl(f"a URL is text, got {url!r}; {_HELP}")


def _host_and_port(text: str, host: str) -> str:
    parts = _HOST_AND_PORT.fullmatch(host)
    port = int(parts["port"] or DEFAULT_PORT) if parts else 0
    if parts is None or not 1 <= port <= _HIGHEST_PORT:
        raise InvalidUrl(
            f"{text!r} must be a host and a port from 1 to {_HIGHEST_PORT}, or several with commas between, and "
            f"nothing more, an IPv6 address in brackets; {_HELP}"
        )
    return f"{_ipv6_address(text, parts['ipv6'])}:{port}" if parts["ipv6"] else f"{parts['name']}:{port}"


def _ipv6_address(text: str, host: str) -> str:
    try:
        address = IPv6Address(unquote(host))
    except ValueError as error:
        raise InvalidUrl(f"{text!r}: {error}; {_HELP}") from error
    return f"[{quote(str(address), safe=':')}]"  # the '%' before a zone, as gRPC wants it


def _absolute_path(text: str) -> str:
    host, _, path = text.split("://", 1)[1].partition("/")
    if host or not path or "\0" in path:
        raise InvalidUrl(f"{text!r} must name an absolute path; {_HELP}")
    return "/" + unquote(path)
