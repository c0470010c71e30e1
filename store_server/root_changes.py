"""Changes that calls make to the data root of a node while it is served: what the commands `attach` and `drop` do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from store_server.services.shared_look import SharedLook
from store_server.storage import check_table_name, root_writer
from store_server.storage.checkpoint import read_checkpoint
from store_server.storage.checkpoint.layout import CONFIG, INDEX, TOKENIZER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from store_server.access.allowed_sources import AllowedSources
    from store_server.catalog import Catalog
    from store_server.cluster.known_map import KnownMap
    from store_server.storage import Manifest

_DISK_SECONDS: Final = 60.0  # for a disk to do what is asked
_SEEN_SECONDS: Final = 5.0  # for this process to take it up afterwards
_PAUSE_SECONDS: Final = 0.05
_Result = TypeVar("_Result")


class ChangeFailed(Exception):
    """A change cannot be made; the message says what is in its way."""


class Found(NamedTuple):
    """The tables of a checkpoint by their names, and why they have no fingerprint, "" if they have one."""

    manifests: Mapping[str, Manifest]
    unknown_hashing: str


class RootChanges:
    """One at a time, none waited for without a limit. Belongs to the event loop. `known` is the map of its cluster."""

    def __init__(self, catalog: Catalog, root: Path, sources: AllowedSources, known: KnownMap | None) -> None:
        self._catalog = catalog
        self._root = root
        self._sources = sources
        self._known = known
        self._look = SharedLook(catalog)
        self._changing: asyncio.Future[Any] | None = None

    async def find(self, name: str, checkpoint: str) -> Found:
        """Read what there is to be attached. Raises ChangeFailed, SourceNotAllowed, StorageError."""
        check_table_name(name)
        directory = Path(checkpoint)
        if not directory.is_absolute():
            raise ChangeFailed(f"a checkpoint on the node's host is named by an absolute path, got {checkpoint!r:.300}")
        return await self._in_thread(lambda: self._found(name, directory))

    async def attach(self, manifests: Mapping[str, Manifest]) -> set[str]:
        """Make these versions current; returns the tables that were exactly so. Raises ChangeFailed, StorageError."""

        def act() -> set[str]:
            with root_writer(self._root) as writer:
                return writer.attach(manifests)

        return await self._in_thread(act)

    async def drop(self, table: str, version: str) -> None:
        """Remove a version, "" for the table with all of them. Raises ChangeFailed, StorageError."""
        check_table_name(table)
        self._require_not_in_map(table, version)

        def act() -> None:
            with root_writer(self._root) as writer:
                if version:
                    writer.drop(table, version)
                else:
                    writer.drop_table(table)

        await self._in_thread(act)

    async def serves(self, versions: Mapping[str, str]) -> bool:
        """Wait until this process serves versions as the current ones of their tables; tells whether it does."""
        return await self._comes_to(lambda: all(self._serves(table, each) for table, each in versions.items()))

    async def has_let_go(self, table: str, version: str) -> bool:
        """Wait until this process has let go of a version, "" for the whole table; tells whether it has."""
        return await self._comes_to(lambda: not self._has(table, version))

    def _found(self, name: str, directory: Path) -> Found:
        real = self._sources.require_path(directory)
        if not real.is_dir():
            raise ChangeFailed(
                f"{directory}: no such directory on the node's host; name the one with config.json in it"
            )
        for file in (real / CONFIG, real / INDEX, real / TOKENIZER, *real.glob("*.safetensors")):
            self._sources.require_path(file)  # which may be a link to elsewhere
        found = read_checkpoint(real)
        manifests = {f"{name}/layer-{layer}": manifest for layer, manifest in found.manifests.items()}
        for manifest in manifests.values():
            for segment in manifest.segments:  # those that are kept open, once more: links change
                self._sources.require_path(Path(segment.path))
        return Found(manifests, found.unknown_hashing)

    def _require_not_in_map(self, table: str, version: str) -> None:
        newest = None if self._known is None else self._known.newest
        for key in () if newest is None else newest.versions:
            if key.table == table and version in ("", key.version):
                raise ChangeFailed(
                    f"the shard map of the cluster has version {key.version} of table {table!r}, which nodes hold "
                    "because of it: take it out of the map with `engram-store unpublish` or `forget`"
                )

    def _serves(self, table: str, version: str) -> bool:
        state = self._catalog.tables.get(table)
        opened = None if state is None else state.opened_current()
        return opened is not None and opened.version == version

    def _has(self, table: str, version: str) -> bool:
        state = self._catalog.tables.get(table)
        return state is not None and (not version or version in state.versions)

    async def _comes_to(self, is_so: Callable[[], bool]) -> bool:
        latest = asyncio.get_running_loop().time() + _SEEN_SECONDS
        while (left := latest - asyncio.get_running_loop().time()) > 0:
            await self._look.wait(left)
            if is_so():
                return True
            await asyncio.sleep(_PAUSE_SECONDS)  # a table is being loaded, or the disk fails
        return is_so()

    async def _in_thread(self, act: Callable[[], _Result]) -> _Result:
        """Return what `act` returns. A caller that goes leaves it going on, and so does a disk that takes too long."""
        if self._changing is not None and not self._changing.done():
            raise ChangeFailed("this process is at another change; try again when that is done")
        changing = asyncio.ensure_future(asyncio.to_thread(act))
        self._changing = changing
        await asyncio.wait({changing}, timeout=_DISK_SECONDS)
        if not changing.done():
            raise ChangeFailed(f"not done within {_DISK_SECONDS:g} s, and it goes on: the node's disk is slow or fails")
        return changing.result()
