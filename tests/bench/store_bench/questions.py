"""The rows that every subject serves, and what it is asked for: row numbers, with the rows that must come back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from support.rows import random_rows

ROW_BYTES = 264
# The rows of all questions together are more than a processor's cache holds: it is memory that hands them out.
_DISTINCT_ROWS = 131_072
_ROWS_WRITTEN_AT_ONCE = 1 << 20
_FEWEST_QUESTIONS, _MOST_QUESTIONS = 4, 4096


@dataclass(frozen=True, slots=True)
class RowFile:
    """Random rows of `ROW_BYTES` in a file, one behind the other: the table that all subjects serve."""

    path: Path
    num_rows: int

    @classmethod
    def write(cls, directory: Path, num_rows: int) -> RowFile:
        path = directory / "rows.bin"
        with path.open("wb") as file:
            for first in range(0, num_rows, _ROWS_WRITTEN_AT_ONCE):
                random_rows(min(_ROWS_WRITTEN_AT_ONCE, num_rows - first), ROW_BYTES, seed=first).tofile(file)
        return cls(path, num_rows)

    def rows(self) -> NDArray[np.uint8]:
        """The rows (num_rows, ROW_BYTES), mapped."""
        return np.memmap(self.path, np.uint8, "r", shape=(self.num_rows, ROW_BYTES))


@dataclass(frozen=True, slots=True)
class Questions:
    """`ids` int64 (questions, n), uniform, and `rows` uint8 (questions, n, ROW_BYTES), the right answers."""

    ids: NDArray[np.int64]
    rows: NDArray[np.uint8]

    @classmethod
    def of(cls, file: RowFile, ids_per_fetch: int) -> Questions:
        """Return the same questions for everybody who asks with the same arguments."""
        number = min(max(_DISTINCT_ROWS // ids_per_fetch, _FEWEST_QUESTIONS), _MOST_QUESTIONS)
        ids = np.random.default_rng(ids_per_fetch).integers(0, file.num_rows, (number, ids_per_fetch))
        return cls(ids, np.asarray(file.rows()[ids]))
