"""What became of each version of a root that was backed up."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from store_server.storage import StorageError


class Outcome(Enum):
    """In the backup are versions that were copied or that were there, and attached ones without their rows."""

    COPIED = "copied"
    THERE = "there"
    ATTACHED = "attached"
    UNREADABLE = "unreadable"
    LEFT_OUT = "left out"
    REMOVED = "removed"


class BackedUp(NamedTuple):
    """A version, or where its name is "" a table, and what became of it; `error` says why it is not in the backup."""

    table: str
    version: str
    outcome: Outcome
    num_bytes: int = 0
    error: StorageError | None = None

    @property
    def is_lacking(self) -> bool:
        """Whether the backup lacks it."""
        return self.outcome in (Outcome.UNREADABLE, Outcome.LEFT_OUT)
