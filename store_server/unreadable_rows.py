"""Says in the log which versions have rows that cannot be read, and not once for each lookup of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from store_server.open_version import OpenVersion
    from store_server.storage import StorageError

log = structlog.get_logger()
_PAUSE_SECONDS: Final = 60.0


class UnreadableRows:
    """Says of each version what is wrong when that is new, and once a minute while it goes on. For any thread."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._said: dict[tuple[str, str], tuple[str, float]] = {}  # by table and version
        self._changing = threading.Lock()

    def say(self, version: OpenVersion, error: StorageError) -> None:
        """Say that rows of an open version could not be read."""
        if self._is_due(version, str(error)):
            log.error("rows cannot be read", table=version.table, version=version.version, error=str(error))

    def _is_due(self, version: OpenVersion, what: str) -> bool:
        with self._changing:
            now, key = self._now(), (version.table, version.version)
            self._said = {known: said for known, said in self._said.items() if now - said[1] < _PAUSE_SECONDS}
            before, _ = self._said.get(key, ("", now))
            if what == before:
                return False
            self._said[key] = (what, now)
            return True
