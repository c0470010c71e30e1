"""Rows that tell which version they are of, so that any of them can be checked without knowing what is current."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from store_server.storage.fills import index_rows

NUM_ROWS, ROW_BYTES = 2_000, 264
_STAMP_BYTES = 8


def stamped_rows(number: int, ids: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return rows (n, ROW_BYTES) of version `number`: that number, and then what no other version has for these ids."""
    rows = index_rows(ids + number * NUM_ROWS, ROW_BYTES)
    rows[:, :_STAMP_BYTES] = np.frombuffer(number.to_bytes(_STAMP_BYTES, "little"), np.uint8)
    return rows


def stamp_of(rows: NDArray[np.uint8]) -> int:
    """Return the version that the first row says it is of."""
    return int.from_bytes(rows[0, :_STAMP_BYTES].tobytes(), "little")
