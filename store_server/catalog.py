"""Every version that lies in the data root, open and ready, and the one of each table that is current."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Final, TypeAlias

import structlog

from store_server.config import ServerConfig
from store_server.storage import (
    Backend,
    DataRoot,
    FilesChanged,
    Manifest,
    ResidentSet,
    StorageError,
    TableDamaged,
    TableNotFound,
    VersionNotFound,
)
from store_server.storage.manifest import ATTACHED
from store_server.storage.names import check_table_name

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OpenVersion:
    """One version that is served."""

    table: str
    version: str
    manifest: Manifest
    backend: Backend
    max_rows_per_lookup: int


@dataclass(frozen=True, slots=True)
class TableState:
    """The versions of one table; one that cannot be served is remembered by what is wrong with it.

    `places` tells the directories apart that held a version: a damaged one may be replaced by an intact one of the same
    name.
    """

    current: str
    versions: dict[str, OpenVersion | TableDamaged]
    places: dict[str, int]

    def current_is_served(self) -> bool:
        """Tell whether lookups of the current version work."""
        return isinstance(self.versions.get(self.current), OpenVersion)

    def known(self, version: str, place: int) -> OpenVersion | TableDamaged | None:
        """Return what is known of a version, if it still lies in the same place."""
        return self.versions.get(version) if self.places.get(version) == place else None


_LONGEST_WAIT_SECONDS: Final = 0.5
# The kernel takes 26 ms a GiB to say what of a table is in RAM; for large ones that must not delay the start.
_SECONDS_ON_RESIDENCY_AT_OPEN: Final = 0.1
Tables: TypeAlias = dict[str, TableState]


class Catalog:
    """Finds versions without I/O; `reload`, called from a thread, brings it up to date with the data root.

    A version that cannot be opened is not served and named in the log; all others are.
    """

    def __init__(self, root: DataRoot, config: ServerConfig) -> None:
        self.tables: Tables = {}
        self._root = root
        self._config = config
        self._resident_set = ResidentSet(config.memory_budget_bytes)
        self._next_to_refresh = 0
        self._reloading = threading.Lock()

    def find(self, table: str, version: str) -> OpenVersion:
        """Return a version, "" being the current one.

        Raises InvalidTableName, TableNotFound, VersionNotFound, TableDamaged.
        """
        state = self.tables.get(table)
        if state is None:
            raise TableNotFound(check_table_name(table), self._root.path)
        found = state.versions.get(version or state.current)
        if found is None:
            raise VersionNotFound(table, version or state.current, state.current)
        if isinstance(found, TableDamaged):
            # Made anew: one error raised by many requests would gather all their tracebacks.
            raise TableDamaged(found.table, found.version, found.path, found.detail)
        return found

    def reload(self) -> None:
        """Open versions that are new, let go of those that were dropped, and follow what is current."""
        # Loading a large table into memory takes long; who only asks for a description does not wait for that.
        if not self._reloading.acquire(timeout=_LONGEST_WAIT_SECONDS):
            return
        try:
            DataRoot.open(self._root.path)  # a root that is gone for a moment must not look like one without tables
            before = self.tables
            states = {name: self._state(name, before.get(name)) for name in self._root.table_names()}
            self.tables = {name: state for name, state in states.items() if state is not None}
            kept = {id(version) for version in _open_versions(self.tables)}
            for version in _open_versions(before):
                if id(version) not in kept:
                    version.backend.close()
                    log.info("version closed", table=version.table, version=version.version)
        finally:
            self._reloading.release()

    def refresh_residency(self, seconds: float) -> None:
        """Ask the kernel for so long what lies in RAM, going on where the last call stopped; keep the memory budget."""
        deadline = time.monotonic() + seconds
        versions = _open_versions(self.tables)
        for _ in versions:
            if not versions[self._next_to_refresh % len(versions)].backend.refresh_residency(deadline):
                break
            self._next_to_refresh += 1
            if time.monotonic() >= deadline:
                break
        self._resident_set.shrink()

    def close(self) -> None:
        """Let go of every version."""
        with self._reloading:
            tables, self.tables = self.tables, {}
            for version in _open_versions(tables):
                version.backend.close()

    def _state(self, name: str, before: TableState | None) -> TableState | None:
        """Return what a table is now, as far as it can be read."""
        try:
            current = self._root.current_version(name)
            places = {
                version: self._root.version_path(name, version).stat().st_ino for version in self._root.versions(name)
            }
        except (TableNotFound, VersionNotFound, FileNotFoundError):
            return before  # dropped while we looked; the next look is right
        except StorageError as error:
            return before or self._unreadable(name, error)
        if before is not None and before.current != current:
            log.info("current version switched", table=name, version=current, before=before.current)
        versions = {}
        for version, place in places.items():
            known = before.known(version, place) if before is not None else None
            versions[version] = self._if_it_stands(known) or self._open(name, version, in_memory=version == current)
        return TableState(current, versions, places)

    def _unreadable(self, name: str, error: StorageError) -> TableState:
        log.error("table cannot be read, not served", table=name, error=str(error))
        return TableState("", {"": TableDamaged(name, "", self._root.table_path(name), str(error))}, {})

    def _if_it_stands(self, known: OpenVersion | TableDamaged | None) -> OpenVersion | TableDamaged | None:
        """Return what is known of a version, None if it has to be opened anew.

        The files of an attached one are not ours: anybody may write to them while we serve their bytes, cut them short
        under the map, or take them away for a while. It is served while they are what was attached.
        """
        try:
            if isinstance(known, OpenVersion) and known.backend.kind == ATTACHED:
                self._root.check_files(known.table, known.manifest)
            elif isinstance(known, FilesChanged):
                self._root.stored_version(known.table, known.version)
                return None
        except FilesChanged as error:
            if isinstance(known, OpenVersion):
                log.error("files changed, no longer served", table=error.table, version=error.version, error=str(error))
            return error
        except StorageError:  # cannot be looked at just now; what is mapped is still there
            return known
        return known

    def _open(self, name: str, version: str, *, in_memory: bool) -> OpenVersion | TableDamaged:
        try:
            manifest = self._root.manifest(name, version)
            backend = self._root.open_backend(
                name,
                version,
                in_memory=in_memory and name in self._config.in_memory,
                huge_pages=self._config.huge_pages,
                resident_set=self._resident_set,
            )
        except StorageError as error:
            log.error("version cannot be opened, not served", table=name, version=version, error=str(error))
            if isinstance(error, TableDamaged):
                return error
            return TableDamaged(name, version, self._root.table_path(name), str(error))
        backend.refresh_residency(time.monotonic() + _SECONDS_ON_RESIDENCY_AT_OPEN)
        log.info(
            "version opened",
            table=name,
            version=version,
            rows=manifest.num_rows,
            row_bytes=manifest.row_bytes,
            backend=backend.kind,
            resident=backend.resident,
        )
        limit = self._config.rows_per_lookup(manifest.row_bytes)
        return OpenVersion(name, version, manifest, backend, limit)


def _open_versions(tables: Tables) -> list[OpenVersion]:
    return [
        version for state in tables.values() for version in state.versions.values() if isinstance(version, OpenVersion)
    ]
