"""The URL of a store: which way to the rows, and where."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from engram_client.errors import InvalidUrl

DEFAULT_PORT: Final = 50051
_HELP: Final = "give grpc://HOST:PORT, unix:///PATH or file:///ROOT"
Scheme: TypeAlias = Literal["grpc", "unix", "file"]


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A URL taken apart: `address` is a gRPC target for grpc and unix, a directory for file."""

    text: str
    scheme: Scheme
    address: str


def parse_url(url: str | os.PathLike[str] | None) -> StoreUrl:
    """Take apart grpc://HOST[:PORT], unix:///PATH or file:///ROOT; None reads ENGRAM_URL from the environment."""
    text = os.fspath(url) if url is not None else os.environ.get("ENGRAM_URL", "")
    if not text:
        raise InvalidUrl("no URL given and ENGRAM_URL is not set; " + _HELP)
    scheme, separator, _ = text.partition("://")
    if separator and scheme == "grpc":
        return StoreUrl(text, "grpc", _host_and_port(text))
    if separator and scheme == "unix":
        return StoreUrl(text, "unix", f"unix:{_absolute_path(text)}")
    if separator and scheme == "file":
        return StoreUrl(text, "file", _absolute_path(text))
    raise InvalidUrl(f"{text!r} is no store; {_HELP}")


def _host_and_port(text: str) -> str:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError as error:
        raise InvalidUrl(f"{text!r}: {error}; {_HELP}") from error
    if not host or parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise InvalidUrl(f"{text!r} must be a host and a port and nothing more; {_HELP}")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _absolute_path(text: str) -> str:
    host, _, path = text.split("://", 1)[1].partition("/")
    if host or not path or "\0" in path:
        raise InvalidUrl(f"{text!r} must name an absolute path; {_HELP}")
    return "/" + unquote(path)
