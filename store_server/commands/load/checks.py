"""Are the rows right? By formula, by a copy of the table, or at least the same whenever they come again."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from store_server.storage import DataRoot
from store_server.storage.fills import index_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from store_server.storage import Backend

_REMEMBERED_BYTES: Final = 64 << 20
_MOST_REMEMBERED_ROWS: Final = 2**16


class Check(Enum):
    """What rows are compared with; `said` is what the result says about it."""

    index = "index"
    root = "root"
    repeats = "repeats"
    none = "none"

    @property
    def said(self) -> str:
        """What was done, in words."""
        return _SAID[self]


_SAID: Final = {
    Check.index: "every row compared with the formula of `create --fill index`",
    Check.root: "every row compared with a copy of the table on this host",
    Check.repeats: "rows that came again compared with what they were before; not known to be the right ones",
    Check.none: "NOT CHECKED",
}


@dataclass(frozen=True, slots=True)
class Compared:
    """Outcome of one fetch's check: `wrong` are the row numbers that held something else."""

    num_rows: int
    wrong: NDArray[np.int64]


class RowCheck(Protocol):
    """Compares what a fetch brought."""

    def compare(self, ids: NDArray[np.int64], rows: NDArray[np.uint8]) -> Compared:
        """Compare rows (n, row_bytes) that came for ids (n,)."""
        ...


@contextmanager
def row_check(check: Check, *, row_bytes: int, root: Path | None, table: str, version: str) -> Iterator[RowCheck]:
    """Open a check; with `root` the version is opened there, which raises a StorageError if it is not there."""
    if check is Check.index:
        yield ExpectedRows(lambda ids: index_rows(ids, row_bytes))
    elif check is Check.root:
        with closing(_open_copy(root, table, version)) as backend:
            yield ExpectedRows(lambda ids: _gathered(backend, ids, row_bytes))
    else:
        yield RepeatedRows(row_bytes) if check is Check.repeats else NoCheck()


class ExpectedRows:
    """Compares every row with what a function says it must be."""

    def __init__(self, expected: Callable[[NDArray[np.int64]], NDArray[np.uint8]]) -> None:
        self._expected = expected

    def compare(self, ids: NDArray[np.int64], rows: NDArray[np.uint8]) -> Compared:
        """Compare all of them."""
        expected = self._expected(ids)
        if np.array_equal(rows, expected):  # by far the fastest way to say that all is well
            return Compared(len(ids), ids[:0])
        return Compared(len(ids), ids[(rows != expected).any(axis=1)])


class RepeatedRows:
    """Remembers some rows, and compares those that it remembers when they come again."""

    def __init__(self, row_bytes: int) -> None:
        self._places = max(1, min(_MOST_REMEMBERED_ROWS, _REMEMBERED_BYTES // row_bytes))
        self._ids = np.full(self._places, -1, np.int64)
        self._rows = np.zeros((self._places, row_bytes), np.uint8)

    def compare(self, ids: NDArray[np.int64], rows: NDArray[np.uint8]) -> Compared:
        """Compare the rows that are remembered, repeats within the fetch included; a free place takes a new row."""
        slots = ids % self._places
        is_free = self._ids[slots] < 0
        already_known = self._ids[slots] == ids
        self._ids[slots[is_free]] = ids[is_free]
        # Of several rows for one place the last one has it now: its bytes must be those that are kept.
        taken = is_free & (self._ids[slots] == ids)
        self._rows[slots[taken]] = rows[taken]
        known = already_known | taken
        is_wrong = (self._rows[slots[known]] != rows[known]).any(axis=1)
        num_first = len(np.unique(ids[taken]))
        return Compared(int(np.count_nonzero(known)) - num_first, ids[known][is_wrong])


class NoCheck:
    """Compares nothing, and says so."""

    def compare(self, ids: NDArray[np.int64], rows: NDArray[np.uint8]) -> Compared:  # noqa: ARG002
        """Compare nothing."""
        return Compared(0, ids[:0])


def _open_copy(root: Path | None, table: str, version: str) -> Backend:
    if root is None:
        raise ValueError("a comparison with a copy of the table needs the data root of the copy")
    return DataRoot.open(root).open_backend(table, version)


def _gathered(backend: Backend, ids: NDArray[np.int64], row_bytes: int) -> NDArray[np.uint8]:
    expected = np.empty((len(ids), row_bytes), np.uint8)
    backend.gather(ids, expected)
    return expected
