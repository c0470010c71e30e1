"""Which versions clients have read lately, whichever of a node's processes they asked."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from engram_store.shard_map import VersionKey
from store_server.cluster.kept_file import DIRECTORY
from store_server.storage.durable import disk_errors_named, make_directory
from store_server.storage.errors import StorageError

log = structlog.get_logger()
_READ: Final = "read"


class RecentReads:
    """Of several processes one asks what was read in the last `seconds`, `read_of`; all others `tell` it.

    They tell by touching a file of the version below ROOT/cluster/read, so that nothing is sent or waited for at a
    lookup. `asked_for` returns the versions that lookups of this process asked for since it was called before. `now` is
    a clock in seconds that never goes back.
    """

    def __init__(
        self,
        root: Path,
        asked_for: Callable[[], Collection[VersionKey]],
        seconds: float,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = root / DIRECTORY / _READ
        self._asked_for = asked_for
        self._seconds = seconds
        self._now = now
        self._last_read: dict[VersionKey, float] = {}
        self._touched: dict[VersionKey, int] = {}

    def tell(self) -> None:
        """Take note of what this process was asked for. Waits for a disk."""
        try:
            with disk_errors_named(self._directory):
                for key in self._asked_for():
                    make_directory(self._directory)
                    self._mark(key).touch()
        except StorageError as error:  # at the worst a version that is read only here leaves too early
            log.warning("it cannot be told which versions are read", error=str(error))

    def read_of(self, held: Collection[VersionKey]) -> frozenset[VersionKey]:
        """Return those that were read lately. One that is seen for the first time counts as read just now.

        It is not known what was read before this process began. Waits for a disk.
        """
        now, asked_for = self._now(), self._asked_for()
        for key in self._last_read.keys() - set(held):
            self._forget(key)
        for key in held:
            if self._was_touched(key) or key in asked_for or key not in self._last_read:
                self._last_read[key] = now
        return frozenset(key for key, last in self._last_read.items() if now - last < self._seconds)

    def _was_touched(self, key: VersionKey) -> bool:
        try:
            touched = self._mark(key).stat().st_mtime_ns
        except OSError:
            return False
        before, self._touched[key] = self._touched.get(key), touched
        return touched != before

    def _forget(self, key: VersionKey) -> None:
        del self._last_read[key]
        self._touched.pop(key, None)
        with suppress(OSError):
            self._mark(key).unlink()

    def _mark(self, key: VersionKey) -> Path:
        return self._directory / hashlib.blake2b("\n".join(key).encode(), digest_size=16).hexdigest()
