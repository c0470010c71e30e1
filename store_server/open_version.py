"""A version that is open, and how a node opens one."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from store_server.storage import ResidentSet, StorageError, VersionQuarantined
from store_server.storage.version_quarantine import require_no_quarantine
from store_server.suspects import Suspects

if TYPE_CHECKING:
    from store_server.config import ServerConfig
    from store_server.storage import Backend, DataRoot, Manifest
    from store_server.storage.data_root import PlacedVersion
    from store_server.storage.row_memory import RowMemory

log = structlog.get_logger()

# The kernel takes 26 ms a GiB to say what of a table is in RAM; for large ones that must not delay the start.
_SECONDS_ON_RESIDENCY: Final = 0.1


@dataclass(frozen=True, slots=True)
class OpenVersion:
    """One version that is served."""

    table: str
    version: str
    manifest: Manifest
    backend: Backend
    max_rows_per_lookup: int


class VersionOpener:
    """Opens versions of a data root as the settings of a node say; `memory` is where those in RAM go.

    `is_loading` says whether it is loading one into memory, which one thread does at a time. None of the `suspects` is
    opened that is in quarantine.
    """

    def __init__(
        self, root: DataRoot, config: ServerConfig, memory: RowMemory | None = None, suspects: Suspects | None = None
    ) -> None:
        self.root = root
        self.suspects = suspects or Suspects()
        self.resident_set = ResidentSet(config.memory_budget_bytes)
        self.is_loading = False
        self._config = config
        self._memory = memory
        self._stop = threading.Event()

    def open(self, found: PlacedVersion, *, in_memory: bool) -> OpenVersion:
        """Open one version, which takes as long as a disk does. Raises what DataRoot.open_backend raises."""
        try:
            self._require_no_quarantine(found)
            with self.suspects.reading(found):
                return self._loaded(found) if in_memory else self._open(found, in_memory=False)
        except StorageError:
            self.root.version_path(found.table, found.version)  # raises for one that was dropped, which is no failure
            raise

    def check_files(self, found: PlacedVersion, opened: OpenVersion) -> None:
        """Raise TableDamaged if a version that is open must be read no longer, as its files are not what they were."""
        self._require_no_quarantine(found)
        if opened.backend.kind != "memory":  # which needs its files no longer
            self.root.check_files(found.table, opened.manifest)

    def require_served(self, found: PlacedVersion) -> None:
        """Raise TableDamaged if a version that is not open cannot be served, as far as its files tell."""
        self._require_no_quarantine(found)
        self.root.stored_version(found.table, found.version)

    def _require_no_quarantine(self, found: PlacedVersion) -> None:
        directory = self.root.version_path(found.table, found.version)
        if (reason := self.suspects.why_quarantined(found)) is not None:
            raise VersionQuarantined(found.table, found.version, directory, reason)
        require_no_quarantine(found.table, found.version, directory)

    def _loaded(self, found: PlacedVersion) -> OpenVersion:
        self.is_loading = True
        try:
            return self._open(found, in_memory=True)
        finally:
            self.is_loading = False

    def _open(self, found: PlacedVersion, *, in_memory: bool) -> OpenVersion:
        table, version = found.table, found.version
        manifest = self.root.manifest(table, version)
        backend = self.root.open_backend(
            table,
            version,
            in_memory=in_memory,
            memory=self._memory,
            huge_pages=self._config.huge_pages,
            resident_set=self.resident_set,
            stop=self._stop,
        )
        backend.refresh_residency(time.monotonic() + _SECONDS_ON_RESIDENCY)
        log.info(
            "version opened",
            table=table,
            version=version,
            rows=manifest.num_rows,
            row_bytes=manifest.row_bytes,
            backend=backend.kind,
            **_where_rows_lie(backend),
        )
        watched = self.suspects.watched(backend, found)
        return OpenVersion(table, version, manifest, watched, self._config.rows_per_lookup(manifest.row_bytes))

    def belongs_in_memory(self, table: str) -> bool:
        """Tell whether the current version of a table is to be loaded into RAM."""
        return table in self._config.in_memory

    def stop(self) -> None:
        """Give up a table that is being loaded into RAM, and load no other."""
        self._stop.set()

    def has_stopped(self) -> bool:
        """Tell whether `stop` was called."""
        return self._stop.is_set()


def _where_rows_lie(backend: Backend) -> dict[str, bool]:
    """Return what the log says of it: of a map only where its pages were, for the node holds none of them."""
    return {} if backend.kind == "memory" else {"all_in_page_cache_when_opened": backend.resident}
