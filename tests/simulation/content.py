"""What rows hold: each says of which table and version it is, and which of their rows, so that a wrong one is known."""

import numpy as np
from numpy.typing import NDArray


def _numbers(table: str, version: str) -> tuple[int, int]:
    return int(table.rpartition("-")[2]), int(version.removeprefix("v"))


def rows_of(table: str, version: str, rows: NDArray[np.int64], row_bytes: int) -> NDArray[np.uint8]:
    """Return the rows (n,) of a version, (n, row_bytes)."""
    words = np.empty((len(rows), row_bytes // 8), "<i8")
    words[:, 0], words[:, 1] = _numbers(table, version)
    words[:, 2:] = rows[:, None]
    return words.view(np.uint8)


def first_wrong(table: str, version: str, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> str | None:
    """Say what is wrong in rows (n, row_bytes) that were asked for; None if they are right."""
    words = out.view("<i8")
    wrong = (words[:, :2] != _numbers(table, version)).any(axis=1) | (words[:, 2:] != rows[:, None]).any(axis=1)
    if not wrong.any():
        return None
    place = int(np.flatnonzero(wrong)[0])
    return f"asked for row {rows[place]} of {version} of {table}, got {words[place, :3].tolist()} ({wrong.sum()} wrong)"
