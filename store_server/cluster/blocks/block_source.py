"""Where blocks of a version come from: another data root, a data root behind HTTP, another node."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote, urlsplit

import numpy as np

from store_server.access.allowed_sources import SourceNotAllowed
from store_server.storage import BlockDamaged, DataRoot, StorageError
from store_server.storage.files.version_files import open_files
from store_server.storage.held_blocks import held_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_server.access.allowed_sources import AllowedSources
    from store_server.cluster.node_channel import NodeChannels
    from store_server.storage import Manifest
    from store_server.storage.files.version_files import VersionFiles

WAIT_SECONDS: Final = 20.0  # for a manifest, for a block
MOST_MANIFEST_BYTES: Final = 256 << 20  # a manifest has 35 bytes a block, so this is one of 8 TB
_NODE_AT_A_SOCKET: Final = "grpc://unix:///"


class SourceFailed(Exception):
    """A source gives nothing of what was asked for; the message says which source and why."""

    def __init__(self, source: str, reason: str) -> None:
        self.source, self.reason = source, reason
        super().__init__(f"{source}: {reason}")


class InvalidSourceUrl(Exception):
    """A text names no source."""


class BlockSource(Protocol):
    """Gives manifests and blocks, which nobody has compared with anything yet. Every wait for a network has a limit."""

    url: str

    def manifest(self, table: str, version: str) -> bytes:
        """Return table.json of a version. Raises SourceFailed."""
        ...

    def blocks(self, table: str, manifest: Manifest, first: int, count: int) -> Iterator[tuple[int, bytes]]:
        """Yield those of `count` blocks from `first` on that the source has: number, rows. Raises SourceFailed."""
        ...

    def interrupt(self) -> None:
        """Give nothing any more: who waits for a network gets SourceFailed. For any thread, before `close`."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


def block_source(
    url: str,
    *,
    wait_seconds: float = WAIT_SECONDS,
    channels: NodeChannels | None = None,
    allowed: AllowedSources | None = None,
) -> BlockSource:
    """Return the source at file:///ROOT, http(s)://HOST/ROOT, grpc(s)://HOST:PORT or grpc://unix:///PATH.

    It connects when it is first asked, to a node by one of the `channels`. No link of a file leads
    out of what is `allowed`, None for everything. Raises InvalidSourceUrl, CannotSpeakTo.
    """
    from store_server.cluster.blocks.block_source_grpc import GrpcSource
    from store_server.cluster.blocks.block_source_http import HttpSource
    from store_server.cluster.node_channel import NodeChannels

    channels = channels or NodeChannels()
    if url.startswith(_NODE_AT_A_SOCKET) and len(url) > len(_NODE_AT_A_SOCKET):
        return GrpcSource(url.removeprefix("grpc://"), wait_seconds, channels, tls=False)
    try:
        parts = urlsplit(url)
        has_place = bool(parts.path if parts.scheme == "file" else parts.hostname)
        has_port = parts.port is not None
    except ValueError as error:
        raise InvalidSourceUrl(f"{url!r:.300} is no source of blocks: {error}") from error
    if "?" in url or "#" in url:
        says = "what stands behind ? or # would be asked for nowhere; a ? or # of a path is %3F or %23"
        raise InvalidSourceUrl(f"{url!r:.300} is no source of blocks: {says}")
    if has_place and parts.scheme == "file" and not parts.netloc:
        return FileSource(Path(unquote(parts.path)), allowed)
    if has_place and parts.scheme in ("http", "https") and not parts.username:
        return HttpSource(url, wait_seconds)
    if has_port and parts.scheme in ("grpc", "grpcs") and not parts.path:
        return GrpcSource(parts.netloc, wait_seconds, channels, tls=parts.scheme == "grpcs")
    wanted = "file:///ROOT, http(s)://HOST/ROOT, grpc(s)://HOST:PORT or grpc://unix:///PATH"
    raise InvalidSourceUrl(f"{url!r:.300} is no source of blocks: write {wanted}")


class NoSource:
    """Gives nothing."""

    def __init__(self, url: str, reason: str) -> None:
        self.url, self._reason = url, reason

    def manifest(self, table: str, version: str) -> bytes:  # noqa: ARG002
        """See BlockSource.manifest."""
        raise SourceFailed(self.url, self._reason)

    def blocks(self, table: str, manifest: Manifest, first: int, count: int) -> Iterator[tuple[int, bytes]]:  # noqa: ARG002
        """See BlockSource.blocks."""
        raise SourceFailed(self.url, self._reason)

    def interrupt(self) -> None:
        """See BlockSource.interrupt."""

    def close(self) -> None:
        """See BlockSource.close."""


class FileSource:
    """A data root that this host can read; of which, where there is a limit to that, no link leads out.

    What tells which version this is may be read through a link all the same: it has the digest that was asked for.
    """

    def __init__(self, root: Path, allowed: AllowedSources | None = None) -> None:
        self.url = root.absolute().as_uri()
        self._root = root
        self._allowed = allowed

    def manifest(self, table: str, version: str) -> bytes:
        """See BlockSource.manifest."""
        try:
            return self._opened().manifest(table, version).to_json()
        except (StorageError, SourceNotAllowed) as error:
            raise SourceFailed(self.url, str(error)) from error

    def blocks(self, table: str, manifest: Manifest, first: int, count: int) -> Iterator[tuple[int, bytes]]:
        """See BlockSource.blocks."""
        try:
            stored = self._opened().stored_version(table, manifest.version)
            are_held = held_blocks(stored)[first : first + count]
            with contextlib.closing(open_files(stored)) as files:
                self._require_allowed(files)
                for block in (np.flatnonzero(are_held) + first).tolist():
                    rows = np.empty((manifest.rows_in_block(block), manifest.row_bytes), np.uint8)
                    with contextlib.suppress(BlockDamaged):  # who asked compares too, and names this source then
                        files.read_checked_into(block, rows)
                    yield block, rows.tobytes()
        except (StorageError, SourceNotAllowed) as error:
            raise SourceFailed(self.url, str(error)) from error

    def interrupt(self) -> None:
        """See BlockSource.interrupt. A disk that is away cannot be waited for otherwise."""

    def close(self) -> None:
        """See BlockSource.close."""

    def _opened(self) -> DataRoot:
        return DataRoot.open(self._root if self._allowed is None else self._allowed.require_path(self._root))

    def _require_allowed(self, files: VersionFiles) -> None:
        if self._allowed is not None:
            for descriptor, path in files.opened():
                self._allowed.require_file(descriptor, path)
