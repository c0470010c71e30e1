"""Every version that lies in the data root, and the one of each table that is current."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from engram_store.shard_map import VersionKey
from store_server.open_version import OpenVersion, VersionOpener
from store_server.served_version import ServedVersion
from store_server.storage import DataRoot, StorageError, TableNotFound, VersionNotFound
from store_server.storage.data_root import PlacedVersion
from store_server.storage.names import check_table_name
from store_server.unreadable_rows import UnreadableRows

if TYPE_CHECKING:
    from store_server.config import ServerConfig
    from store_server.storage.data_root import Place
    from store_server.storage.row_memory import RowMemory
    from store_server.suspects import Suspects

log = structlog.get_logger()

_LONGEST_WAIT_SECONDS: Final = 0.5
_LONGEST_CLOSE_SECONDS: Final = 2.0
_UNREADABLE: Final = ""  # stands for all versions of a table of which it cannot be read which is current


@dataclass(frozen=True, slots=True)
class TableState:
    """The versions of one table."""

    current: str
    versions: dict[str, ServedVersion]

    def find(self, version: str) -> ServedVersion | None:
        """Return a version, "" being the current one."""
        return self.versions.get(version or self.current) or self.versions.get(_UNREADABLE)

    def opened_current(self) -> OpenVersion | None:
        """Return the current version, None if lookups of it do not work."""
        current = self.versions.get(self.current)
        return current.opened if current is not None else None


Tables: TypeAlias = dict[str, TableState]


class Catalog:
    """Finds versions without I/O; `reload`, called from a thread, brings it up to date with the data root.

    A version that cannot be opened is not served and named in the log; all others are.
    """

    def __init__(
        self, root: DataRoot, config: ServerConfig, memory: RowMemory | None = None, suspects: Suspects | None = None
    ) -> None:
        self.tables: Tables = {}
        self.unreadable = UnreadableRows()
        self._root = root
        self._opener = VersionOpener(root, config, memory, suspects)
        self._next_to_refresh = 0
        self._reloading = threading.Lock()

    def find(self, table: str, version: str) -> OpenVersion | None:
        """Return a version, "" being the current one; None if it has to be opened first, which `open` does.

        Raises InvalidTableName, TableNotFound, VersionNotFound, TableDamaged, VersionUnavailable.
        """
        return self._served(table, version).find()

    def open(self, table: str, version: str) -> OpenVersion:
        """Return a version as `find` does, opened if it was not: that waits for a disk and belongs into a thread."""
        return self._served(table, version).open()

    def reload(self) -> None:
        """Open versions that became current, let go of those that were dropped. Raises RootNotFound, StorageFailure."""
        # Loading a large table into memory takes long; who only asks for a description does not wait for that.
        if self._opener.has_stopped() or not self._reloading.acquire(timeout=_LONGEST_WAIT_SECONDS):
            return
        try:
            DataRoot.open(self._root.path)  # a root that is gone for a moment must not look like one without tables
            before = self.tables
            states = {name: self._state(name, before.get(name)) for name in self._root.table_names()}
            if self._opener.has_stopped():
                return  # perhaps in the middle of a table
            self.tables = {name: state for name, state in states.items() if state is not None}
            kept = set(_versions(self.tables))
            for version in _versions(before):
                if version not in kept:
                    version.close()
        finally:
            self._reloading.release()

    def note_quarantine(self, placed: PlacedVersion) -> None:
        """Serve a version no more that is in quarantine since a moment. Waits for a disk."""
        state = self.tables.get(placed.table)
        version = None if state is None else state.versions.get(placed.version)
        if version is not None and version.place == placed.place:
            version.check_files()

    def serves(self, table: str, version: str) -> bool:
        """Tell whether lookups find a version, as far as it is known to be sound."""
        try:
            return self._served(table, version).is_sound
        except StorageError:
            return False

    def asked_for(self) -> set[VersionKey]:
        """Return the versions that lookups asked for since the last call, which one thread makes."""
        found = [version for version in _versions(self.tables) if version.was_asked_for]
        for version in found:
            version.was_asked_for = False
        return {VersionKey(version.table, version.version) for version in found}

    @property
    def is_loading(self) -> bool:
        """Whether `reload` is loading a table into memory, which may take long."""
        return self._opener.is_loading

    def refresh_residency(self, seconds: float) -> None:
        """Ask the kernel for so long what lies in RAM, going on where the last call stopped; keep the memory budget."""
        deadline = time.monotonic() + seconds
        versions = [version.opened for version in _versions(self.tables)]
        backends = [version.backend for version in versions if version is not None]
        for _ in backends:
            if not backends[self._next_to_refresh % len(backends)].refresh_residency(deadline):
                break
            self._next_to_refresh += 1
            if time.monotonic() >= deadline:
                break
        self._opener.resident_set.shrink()

    def stop_following(self) -> None:
        """Give up what `reload` is loading, and reload nothing any more; what is open is served on."""
        self._opener.stop()

    def close(self) -> None:
        """Let go of every version; of none if a look at the data root waits for a disk that does not answer."""
        self.stop_following()
        if not self._reloading.acquire(timeout=_LONGEST_CLOSE_SECONDS):
            log.warning("a disk does not answer, leaving without closing", seconds=_LONGEST_CLOSE_SECONDS)
            return
        try:
            tables, self.tables = self.tables, {}
            for version in _versions(tables):
                version.close()
        finally:
            self._reloading.release()

    def _served(self, table: str, version: str) -> ServedVersion:
        state = self.tables.get(table)
        if state is None:
            raise TableNotFound(check_table_name(table), self._root.path)
        served = state.find(version)
        if served is None:
            raise VersionNotFound(table, version or state.current, state.current)
        return served

    def _state(self, name: str, before: TableState | None) -> TableState | None:
        """Return what a table is now, as far as it can be read."""
        try:
            current = self._root.current_version(name)
            places = {version: self._root.place(name, version) for version in self._root.versions(name)}
        except (TableNotFound, VersionNotFound):
            return before  # dropped while we looked; the next look is right
        except StorageError as error:
            is_readable = before is not None and before.current
            return before if is_readable else self._unreadable(name, before, error)
        if before is not None and before.current != current:
            log.info("current version switched", table=name, version=current, before=before.current)
        known = before.versions if before is not None else {}
        versions = {version: self._known_or_new(known, name, version, place) for version, place in places.items()}
        # The current one first: the one before it leaves memory when this one is there.
        for version in sorted(versions, key=lambda version: version != current):
            versions[version].follow(is_current=version == current)
        return TableState(current, versions)

    def _known_or_new(self, known: dict[str, ServedVersion], name: str, version: str, place: Place) -> ServedVersion:
        served = known.get(version)
        if served is None or served.place != place:
            return ServedVersion(PlacedVersion(name, version, place), self._opener)
        return served

    def _unreadable(self, name: str, before: TableState | None, error: StorageError) -> TableState:
        state = before or TableState(
            _UNREADABLE, {_UNREADABLE: ServedVersion(PlacedVersion(name, "", None), self._opener)}
        )
        state.versions[_UNREADABLE].fail(error)
        return state


def _versions(tables: Tables) -> list[ServedVersion]:
    return [version for state in tables.values() for version in state.versions.values()]
