"""What a client knows about one version of a table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True)
class TableInfo:
    """One version of one table, as the store describes it."""

    name: str
    version: str
    num_rows: int
    row_bytes: int
    row_format: str
    fingerprint: str
    backend: str
    max_rows_per_lookup: int
    table_set: str = ""
    """Tables of a cluster with one name here have current versions that belong together."""


class Described(ABC):
    """The facts of a table that every kind of handle shows."""

    @property
    @abstractmethod
    def info(self) -> TableInfo:
        """All of the description."""

    def __repr__(self) -> str:
        info = self.info
        return f"<{type(self).__name__} {info.name} {info.version}: {info.num_rows} rows of {info.row_bytes} bytes>"

    @property
    def name(self) -> str:
        """Name of the table."""
        return self.info.name

    @property
    def version(self) -> str:
        """Version that this handle reads: a digest of the content."""
        return self.info.version

    @property
    def num_rows(self) -> int:
        """Number of rows; row numbers go from 0 to one below."""
        return self.info.num_rows

    @property
    def row_bytes(self) -> int:
        """Width of a row in bytes."""
        return self.info.row_bytes

    @property
    def row_format(self) -> str:
        """What the bytes of a row mean, for `engram_client.formats`; "" if nobody said."""
        return self.info.row_format

    @property
    def fingerprint(self) -> str:
        """Digest of the hashing that the table was made for; "" if nobody said."""
        return self.info.fingerprint
