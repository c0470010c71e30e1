"""One version in one place of the data root: open, not opened yet, or what is wrong with it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import structlog

from store_server.open_version import OpenVersion
from store_server.storage import (
    FilesChanged,
    LoadingStopped,
    StorageError,
    TableDamaged,
    TableNotFound,
    VersionNotFound,
    VersionQuarantined,
    VersionUnavailable,
)

if TYPE_CHECKING:
    from store_server.open_version import VersionOpener
    from store_server.storage.data_root import PlacedVersion

log = structlog.get_logger()

_GONE: Final = (TableNotFound, VersionNotFound)  # was dropped; the next look at the data root takes it away


class ServedVersion:
    """Followed by one thread, which calls `follow`, while others `find` and `open` it.

    What is open is replaced in one step and closed afterwards: a lookup that found it before and comes too late gets
    BackendClosed, and finds the other one when it looks once more.

    `place` tells directories of the same name apart: a damaged version may be replaced by an intact one.
    """

    def __init__(self, placed: PlacedVersion, opener: VersionOpener) -> None:
        self.placed = placed
        self.table, self.version, self.place = placed
        self.was_asked_for = False
        """Set whenever a lookup finds the version; who takes note of it takes it back."""
        self._opener = opener
        self._state: OpenVersion | StorageError | None = None
        self._changing = threading.Lock()
        self._reported = ""

    @property
    def opened(self) -> OpenVersion | None:
        """The version, if it is open."""
        state = self._state
        return state if isinstance(state, OpenVersion) else None

    @property
    def is_sound(self) -> bool:
        """Whether lookups find it, as far as is known."""
        return not isinstance(self._state, StorageError)

    @property
    def is_in_quarantine(self) -> bool:
        """Whether it is refused because it ended who read it."""
        return isinstance(self._state, VersionQuarantined)

    def find(self) -> OpenVersion | None:
        """Return the version, or None if it has to be opened first. Raises TableDamaged, VersionUnavailable."""
        self.was_asked_for = True
        state = self._state
        if isinstance(state, StorageError):
            raise self._refusal(state) from state
        return state

    def open(self) -> OpenVersion:
        """Return the version as `find` does, opened as it lies on disk if it was not.

        Raises TableDamaged and VersionUnavailable, TableNotFound and VersionNotFound when it was dropped.
        """
        with self._changing:
            found = self.find()
            if found is None:
                try:
                    self._state = found = self._opener.open(self.placed, in_memory=False)
                except _GONE:
                    raise
                except StorageError as error:
                    self._note_failure(error)
                    self._state = error
                    raise self._refusal(error) from error
            return found

    def follow(self, *, is_current: bool) -> None:
        """Be what the disk and the settings ask for.

        The current version is open, in memory if its table belongs there; others are opened when they are looked up,
        because they may be many and each takes a file descriptor. What failed without being damaged is tried again.
        """
        self.check_files()
        state = self._state
        if isinstance(state, TableDamaged) or self._opener.has_stopped():
            return
        in_memory = is_current and self._opener.belongs_in_memory(self.table)
        if isinstance(state, OpenVersion):
            if in_memory != (state.backend.kind == "memory"):
                self._reopen(in_memory=in_memory)
        elif is_current:
            self._reopen(in_memory=in_memory)
        elif state is not None:
            self._replace(None)

    def check_files(self) -> None:
        """Refuse a version whose files are no longer those that were opened, or that is in quarantine since.

        The files of an attached version are not ours: anybody may write to them while we serve their bytes, cut them
        short under the map, or take them away for a while. Ours may still be cut short, by a disk check for example.
        When they are as they were, or the quarantine is lifted, the version is taken back.
        """
        state = self._state
        try:
            if isinstance(state, OpenVersion):
                self._opener.check_files(self.placed, state)
            elif isinstance(state, FilesChanged | VersionQuarantined):
                self._opener.require_served(self.placed)
                self._replace(None)
        except TableDamaged as error:
            self.fail(error)
        except StorageError:  # cannot be looked at just now; what is mapped is still there
            return

    def fail(self, error: StorageError) -> None:
        """Refuse lookups because of `error`, which is logged if it is another than before."""
        self._note_failure(error)
        self._replace(error)

    def close(self) -> None:
        """Let go of the rows."""
        if self.opened is not None:
            log.info("version closed", table=self.table, version=self.version)
        self._replace(None)

    def _refusal(self, error: StorageError) -> StorageError:
        """Return the error for one lookup: one that is raised by many would gather all their tracebacks."""
        if isinstance(error, TableDamaged):
            return TableDamaged(error.table, error.version, error.path, error.detail)
        return VersionUnavailable(self.table, self.version, str(error))

    def _reopen(self, *, in_memory: bool) -> None:
        """Open the version, also if it is open in another way; that one is served until the new one is ready."""
        try:
            opened = self._opener.open(self.placed, in_memory=in_memory)
        except _GONE:
            return
        except StorageError as error:
            if self.opened is not None and not isinstance(error, TableDamaged):
                self._note_failure(error)
            else:
                self.fail(error)
            return
        self._reported = ""
        self._replace(opened)

    def _replace(self, state: OpenVersion | StorageError | None) -> None:
        with self._changing:
            replaced, self._state = self.opened, state
        if replaced is not None:
            replaced.backend.close()

    def _note_failure(self, error: StorageError) -> None:
        """Log a failure once, not each time that opening is tried again."""
        if str(error) == self._reported or isinstance(error, LoadingStopped):
            return
        self._reported = str(error)
        served = self.opened is not None and not isinstance(error, TableDamaged)
        event = "version cannot be reopened, served as it is" if served else "version cannot be opened, not served"
        log.error(event, table=self.table, version=self.version, error=self._reported)
