"""What a parent does about versions that end its workers: the second time it puts one into quarantine."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from store_server.storage import DataRoot, StorageError
from store_server.storage.version_quarantine import put_in_quarantine

if TYPE_CHECKING:
    from pathlib import Path

    from store_server.storage.data_root import PlacedVersion
    from store_server.workers.settings import Quarantined

log = structlog.get_logger()

_DEATHS_TO_QUARANTINE: Final = 2
_WRITE_SECONDS: Final = 2.0  # it may be a disk that does not answer which ended the workers


class Verdict(NamedTuple):
    """A version that is in quarantine since now, and why; `is_written` says whether the data root tells of it."""

    placed: PlacedVersion
    reason: str
    is_written: bool


class DeadlyVersions:
    """Counts deaths by version. Belongs to the event loop."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._deaths: Counter[PlacedVersion] = Counter()
        self._unwritten: dict[PlacedVersion, str] = {}

    @property
    def unwritten(self) -> Quarantined:
        """What a worker that starts has to be told, as the data root does not tell it."""
        return tuple(self._unwritten.items())

    def explains(self, placed: PlacedVersion) -> bool:
        """Tell whether a death needs no other cause than this version: one in quarantine should cause none."""
        return self._deaths[placed] <= _DEATHS_TO_QUARANTINE

    async def note_death(self, placed: PlacedVersion, how: str) -> Verdict | None:
        """Take note that a worker ended as it read a version; returns what is to be told to the others."""
        self._deaths[placed] += 1
        deaths = self._deaths[placed]
        if deaths < _DEATHS_TO_QUARANTINE:
            log.error("a version ended a worker that read it", table=placed.table, version=placed.version, how=how)
            return None
        reason = f"workers that read it ended {deaths} times, the last one {how}"
        failure = await self._not_written(placed, reason)
        if failure is not None:
            reason = f"{reason} (only until the node is started again, as this could not be written down: {failure})"
            self._unwritten[placed] = reason
        log.error("version quarantined", table=placed.table, version=placed.version, reason=reason)
        return Verdict(placed, reason, is_written=failure is None)

    async def _not_written(self, placed: PlacedVersion, reason: str) -> str | None:
        """Put a version into quarantine; returns why that failed. Nothing waits for a disk that does not answer."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[str | None] = loop.create_future()

        def tell(failure: str | None) -> None:
            if not outcome.done():
                outcome.set_result(failure)

        def write() -> None:
            failure = None
            try:
                put_in_quarantine(DataRoot(self._root), placed, reason)
            except (StorageError, OSError) as error:
                failure = str(error)
            loop.call_soon_threadsafe(tell, failure)

        # Not in a thread that the end of the process waits for.
        threading.Thread(target=write, name="quarantine", daemon=True).start()
        try:
            return await asyncio.wait_for(outcome, _WRITE_SECONDS)
        except TimeoutError:
            return f"the disk did not answer within {_WRITE_SECONDS:g} s"
