"""Rows of a file that holds nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store_server.storage.errors import InvalidSource
from store_server.storage.manifest import MAX_ROW_BYTES
from store_server.storage.sources.rows_in_file import RowsInFile

if TYPE_CHECKING:
    from pathlib import Path


def raw_rows(path: Path, row_bytes: int | None) -> RowsInFile:
    """Return all bytes of a file as rows; raises InvalidSource unless they are whole rows."""
    if row_bytes is None:
        raise InvalidSource(f"{path}: raw bytes do not say how wide a row is; give --row-bytes")
    if not 1 <= row_bytes <= MAX_ROW_BYTES:
        raise InvalidSource(f"{path}: --row-bytes must be 1 to {MAX_ROW_BYTES:,} (1 MiB), got {row_bytes:,}")
    num_bytes = path.stat().st_size
    if num_bytes == 0:
        raise InvalidSource(f"{path}: is empty; a table has at least one row")
    num_rows, rest = divmod(num_bytes, row_bytes)
    if rest:
        raise InvalidSource(f"{path}: {num_bytes:,} bytes are not whole rows of {row_bytes:,}; {rest:,} are left over")
    return RowsInFile(path=path, offset=0, num_rows=num_rows, row_bytes=row_bytes)
