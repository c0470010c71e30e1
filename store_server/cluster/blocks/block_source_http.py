"""Blocks of a data root that lies behind any HTTP server: ranges of its files."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import numpy as np

from store_server.cluster.blocks.block_source import MOST_MANIFEST_BYTES, SourceFailed
from store_server.cluster.blocks.http_files import HttpFiles
from store_server.storage import InvalidTableSpec, Manifest, StorageError
from store_server.storage.data_root import MANIFEST, TABLES, VERSIONS
from store_server.storage.files.block_places import block_places
from store_server.storage.files.data_file import DATA_FILE_KINDS
from store_server.storage.held_blocks import HELD, blocks_of, held_content
from store_server.storage.names import directory_of
from store_server.storage.stored_version import StoredVersion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from store_server.storage.files.block_places import BlockPlaces

_FLAT: Final = "mmap"
_HELD_SECONDS: Final = 10.0  # a block that goes meanwhile is a wrong one at the worst, and asked for elsewhere


class HttpSource:
    """The data root at `url`, whose versions lie in flat files, a patched one in two. For one thread at a time."""

    def __init__(self, url: str, wait_seconds: float) -> None:
        self.url = url
        self._files = HttpFiles(url, wait_seconds)
        self._places_of: dict[tuple[str, str], BlockPlaces] = {}
        self._held_of: dict[tuple[str, str], tuple[float, NDArray[np.bool_]]] = {}

    def manifest(self, table: str, version: str) -> bytes:
        """See BlockSource.manifest."""
        found = self._small_file(table, version, MANIFEST)
        if found is None:
            raise SourceFailed(self.url, f"has no version {version} of table {table!r}")
        return found

    def blocks(self, table: str, manifest: Manifest, first: int, count: int) -> Iterator[tuple[int, bytes]]:
        """See BlockSource.blocks."""
        places = self._places(table, manifest.version)
        held = self._held(table, manifest)[first : first + count]
        for run in _runs(np.flatnonzero(held) + first, places):
            number = int(places.file_of[run[0]])
            parts = self._files.parts(
                self._place(table, manifest.version, places.paths[number].name),
                int(places.offsets[run[0]]),
                [manifest.rows_in_block(block) * manifest.row_bytes for block in run],
                file_bytes=places.file_bytes[number],
            )
            with contextlib.closing(parts):
                yield from zip(run, parts, strict=True)

    def interrupt(self) -> None:
        """See BlockSource.interrupt. Not while it connects, which has a limit of its own."""
        self._files.interrupt()

    def close(self) -> None:
        """See BlockSource.close."""
        self._files.close()

    def _places(self, table: str, version: str) -> BlockPlaces:
        """Return where the blocks of a version lie there, which another data root may hold in another way."""
        key = table, version
        if key not in self._places_of:
            self._places_of[key] = self._places_by(self.manifest(table, version), table, version)
        return self._places_of[key]

    def _places_by(self, data: bytes, table: str, version: str) -> BlockPlaces:
        try:
            manifest = Manifest.from_json(data)
        except InvalidTableSpec as error:
            raise SourceFailed(self.url, f"sends no manifest: {error}") from error
        if manifest.version != version:
            raise SourceFailed(self.url, f"sends another manifest: expected {version}, found {manifest.version}")
        if manifest.backend != _FLAT:
            raise SourceFailed(
                self.url,
                f"holds version {version} of table {table!r} as {manifest.backend!r}, and only flat files "
                f"({_FLAT!r}) can be read over HTTP: name a node that serves it instead, grpc://HOST:PORT",
            )
        directory = Path(version)  # of which only the names in it count
        return block_places(
            StoredVersion(
                table=table,
                version=version,
                directory=directory,
                data_path=directory / DATA_FILE_KINDS[_FLAT].file_name,
                manifest=manifest,
            )
        )

    def _held(self, table: str, manifest: Manifest) -> NDArray[np.bool_]:
        """Return which blocks are held there, now or a moment ago, (num_blocks,)."""
        key, now = (table, manifest.version), time.monotonic()
        found = self._held_of.get(key)
        if found is None or now - found[0] > _HELD_SECONDS:
            found = self._held_of[key] = now, self._held_now(table, manifest)
        return found[1]

    def _held_now(self, table: str, manifest: Manifest) -> NDArray[np.bool_]:
        data = self._small_file(table, manifest.version, HELD)
        if data is None:
            return np.ones(manifest.num_blocks, np.bool_)
        try:
            return blocks_of(held_content(data, manifest.num_blocks).ranges, manifest.num_blocks)
        except (ValueError, RecursionError) as error:
            raise SourceFailed(self.url, f"{HELD} does not say which blocks are held: {error}") from error

    def _small_file(self, table: str, version: str, name: str) -> bytes | None:
        return self._files.whole(self._place(table, version, name), most_bytes=MOST_MANIFEST_BYTES)

    def _place(self, table: str, version: str, name: str) -> str:
        try:
            return f"{TABLES}/{quote(directory_of(table))}/{VERSIONS}/{quote(version, safe='')}/{name}"
        except StorageError as error:
            raise SourceFailed(self.url, str(error)) from error


def _runs(blocks: NDArray[np.int64], places: BlockPlaces) -> Iterator[list[int]]:
    """Yield those of the blocks, in order, that lie one behind the other in one file."""
    follows = (np.diff(blocks) == 1) & (np.diff(places.file_of[blocks]) == 0)
    for run in np.split(blocks, np.flatnonzero(~follows) + 1):
        if len(run):
            yield run.tolist()
