"""What a process of a node knows of versions that end who reads them, and what it leaves behind should one do so."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from store_server.storage import Backend
    from store_server.storage.data_root import PlacedVersion
    from store_server.workers.marks import Marks


class Suspects:
    """Any version is one while it is read: its name lies in `marks` then, where the parent of this process finds it.

    `quarantined` are versions in quarantine of which the data root could not be told, and why. Threads may share it. A
    process that has no parent leaves no marks.
    """

    def __init__(self, marks: Marks | None = None, quarantined: Mapping[PlacedVersion, str] | None = None) -> None:
        self._marks = marks
        self._quarantined = dict(quarantined or {})

    def quarantine(self, placed: PlacedVersion, reason: str) -> None:
        """Take note that a version is in quarantine, as long as this process lives."""
        self._quarantined[placed] = reason

    def why_quarantined(self, placed: PlacedVersion) -> str | None:
        """Return why a version is in quarantine; None if it is not, as far as the data root does not say so."""
        return self._quarantined.get(placed)

    def reading(self, placed: PlacedVersion) -> AbstractContextManager[None]:
        """Mark a version as read as long as the block lasts."""
        return nullcontext() if self._marks is None else self._marks.reading(placed)

    def watched(self, backend: Backend, placed: PlacedVersion) -> Backend:
        """Return a backend that marks the version whenever rows of it are read."""
        return backend if self._marks is None else self._marks.watched(backend, placed)
