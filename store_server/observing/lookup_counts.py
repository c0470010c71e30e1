"""What lookups came to: counted in plain numbers on the way of every one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from engram_store.v1.error_reason_pb2 import ErrorReason
from store_server.observing.durations import Durations

if TYPE_CHECKING:
    from collections.abc import Collection

Source: TypeAlias = Literal["ram", "disk"]
"""Where the rows of an answer came from: RAM, where they were known to be, or else a thread that may read a disk."""
SOURCES: Final[tuple[Source, ...]] = ("ram", "disk")
_REASON_PREFIX: Final = "ERROR_REASON_"


class TableCounts:
    """The lookups of one table that were answered with its rows."""

    __slots__ = ("from_disk", "from_ram", "row_bytes", "rows")

    def __init__(self) -> None:
        self.from_ram = self.from_disk = 0
        self.rows = self.row_bytes = 0


class LookupCounts:
    """Belongs to the event loop; others may read at any time.

    Tables are counted once rows of theirs were found: a name that a caller made up is never remembered. A lookup takes
    from when its message was read until gRPC has its reply.
    """

    def __init__(self) -> None:
        self.tables: dict[str, TableCounts] = {}
        self.seconds: dict[Source, Durations] = {source: Durations() for source in SOURCES}
        self.failures = {name.removeprefix(_REASON_PREFIX): 0 for name in ErrorReason.keys()[1:]}

    def found(self, table: str, source: Source, rows: int, row_bytes: int) -> None:
        """Count a lookup whose rows, so many and each so wide, were found."""
        counts = self.tables.get(table)
        if counts is None:
            counts = self.tables[table] = TableCounts()
        if source == "ram":
            counts.from_ram += 1
        else:
            counts.from_disk += 1
        counts.rows += rows
        counts.row_bytes += rows * row_bytes

    def failed(self, reason: str) -> None:
        """Count a lookup that was refused, for a reason of ErrorReason without its prefix."""
        self.failures[reason] = self.failures.get(reason, 0) + 1

    def answered(self, source: Source, seconds: float, lookups: int = 1) -> None:
        """Count lookups that were answered, also those with a failure, in so many seconds each."""
        self.seconds[source].add(seconds, lookups)

    def forget_all_but(self, tables: Collection[str]) -> None:
        """Forget tables that are gone: those that come and go must not fill the memory."""
        for gone in [table for table in self.tables if table not in tables]:
            del self.tables[gone]
