"""The seam between what callers see and how rows travel."""

from __future__ import annotations

from typing import Protocol

from engram_client.arrays import Int64Array, Uint8Array
from engram_client.table_info import TableInfo


class Transport(Protocol):
    """A way to the rows: gRPC, files of this host, or a fake. Bound to one event loop by its first call.

    Every call ends within `timeout` seconds, with TimeLimitExceeded or Unavailable if need be.
    """

    async def list_tables(self, timeout: float) -> list[TableInfo]:
        """Describe the current version of every table, ordered by name."""
        ...

    async def get_table(self, name: str, version: str, timeout: float) -> TableInfo:
        """Describe one version of a table; "" is the current one."""
        ...

    async def fetch(self, table: TableInfo, rows: Int64Array, out: Uint8Array, timeout: float) -> None:
        """Put `rows` (n,), each within the table, into `out` (n, row_bytes). Once it ends, `out` is never touched."""
        ...

    async def close(self) -> None:
        """Let go of everything; what is under way fails with StoreClosed."""
        ...
