"""What the rows of a node may come from: roots of its own disk, and places in the network, that its operator named.

A prefix is one of these; what it allows begins with the same parts, compared one by one, not as texts:

    file:///DIR                    anything below the directory, once symbolic links are followed
    https://HOST/PATH, http://...  anything below the path on that host and port
    grpc://HOST:PORT, grpcs://...  the node or publisher there; grpc://HOST for any port
    grpc://, https:// and so on    any host

Without any, a cluster's node copies from any grpc:// that the shard map names: from the other nodes, and from whoever
publishes. Who writes the map is trusted with that, as they decide what is served at all, and what such a copy reads is
nothing but blocks with the digests that the map asks for. Files of the node's host and places behind HTTP are not
allowed by that: they are read with the rights of the node, not the publisher. And nobody attaches files by a call.

The nodes of the map itself need not be named: rows go from one to the other in any case.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

_SCHEMES: Final = ("file", "http", "https", "grpc", "grpcs")
_PORTS: Final = {"http": 80, "https": 443}
_UNIX: Final = "unix:"


class SourceNotAllowed(Exception):
    """A source is none of those that the node may use; the message says which, and what to do."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The parts of a URL."""

    scheme: str
    host: str
    port: int | None
    path: tuple[str, ...]

    def is_in(self, prefix: _Place) -> bool:
        return (
            self.scheme == prefix.scheme
            and prefix.host in ("", self.host)
            and prefix.port in (None, self.port)
            and self.path[: len(prefix.path)] == prefix.path
        )


@dataclass(frozen=True, slots=True)
class AllowedSources:
    """The prefixes of a node."""

    _texts: tuple[str, ...]
    _places: tuple[_Place, ...]

    @classmethod
    def parse(cls, texts: Iterable[str]) -> AllowedSources:
        """Return what these prefixes allow, by default what is said above. Raises ValueError."""
        given = tuple(texts)
        return cls(given, tuple(_prefix(text) for text in given or ("grpc://", "grpcs://")))

    def require(self, url: str) -> None:
        """Raise SourceNotAllowed unless a URL of a source lies behind a prefix.

        A file's links are not followed here: see `require_file`, for when it is open.
        """
        place = _parsed(url)
        if place is None or not any(place.is_in(prefix) for prefix in self._places):
            raise self._refused(url)

    def require_path(self, path: Path) -> Path:
        """Return the file or directory that a path really names; raises SourceNotAllowed unless a prefix allows it.

        For whoever attaches files: those of a checkpoint, each, as its directory may hold links to elsewhere.
        """
        real = Path(os.path.realpath(path))
        if not self._has(real):
            raise self._refused(str(path))
        return real

    def require_file(self, descriptor: int, path: Path) -> None:
        """Raise SourceNotAllowed unless an open file, of whatever name, lies in a directory that a prefix allows.

        Asked of the file itself: a name may have become a link between a look at it and its opening.
        """
        if not self._has(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise self._refused(f"{path}, which is a link to elsewhere,")

    def _has(self, real: Path) -> bool:
        roots = [Path(os.path.realpath("/" + "/".join(each.path))) for each in self._places if each.scheme == "file"]
        return any(real.is_relative_to(root) for root in roots)

    def _refused(self, what: str) -> SourceNotAllowed:
        allowed = ", ".join(self._texts) or "those in the network that the shard map names as grpc://"
        return SourceNotAllowed(
            f"{what:.300} is no source that this node may use, only {allowed}: its operator can allow more with "
            "--allow-source"
        )


def _prefix(text: str) -> _Place:
    place = _parsed(text)
    if place is None:
        raise ValueError(
            f"--allow-source takes file:///DIR, http(s)://HOST/PATH or grpc(s)://HOST:PORT, got {text!r:.200}"
        )
    return place


def _parsed(url: str) -> _Place | None:
    """Return the parts of a URL, None for one that two readers could take for different places."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _SCHEMES or not url.startswith(f"{parts.scheme}://") or not url.isprintable():
        return None
    if parts.username is not None or parts.query or parts.fragment or "\\" in url or "%2f" in url.lower():
        return None
    if parts.scheme.startswith("grpc") and parts.netloc == _UNIX:
        return _Place(parts.scheme, _UNIX, None, _steps(parts.path))
    path = unquote(parts.path)
    if not path.isprintable() or any(step in (".", "..") for step in path.split("/")):
        return None
    if parts.scheme == "file" and (parts.netloc or not path):
        return None
    host = (parts.hostname or "").rstrip(".")
    return _Place(parts.scheme, host, port or (_PORTS.get(parts.scheme) if host else None), _steps(path))


def _steps(path: str) -> tuple[str, ...]:
    return tuple(step for step in PurePosixPath(path).parts if step not in ("/", "//"))
