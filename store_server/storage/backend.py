"""What every way of holding a version can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray


class Backend(Protocol):
    """One open version of a table: read-only rows of fixed width. Threads may share it."""

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        ...

    @property
    def row_bytes(self) -> int:
        """Width of a row in bytes."""
        ...

    @property
    def kind(self) -> str:
        """How the rows are held: "memory", "mmap" or "lmdb"."""
        ...

    @property
    def resident(self) -> bool:
        """Whether all rows were in RAM when last looked at, so that a gather waits for no disk."""
        ...

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Copy rows into `out` in the order asked for, repeats included.

        `rows` is (n,) int64, each 0 to num_rows - 1: the caller has checked them, one outside reads a wrong row. `out`
        is (n, row_bytes) uint8, C-contiguous and writable. Raises BackendClosed.
        """
        ...

    def blocks(self) -> Iterator[NDArray[np.uint8]]:
        """Yield all rows in order, a block (rows, row_bytes) uint8 at a time. Raises BackendClosed, TableDamaged."""
        ...

    def refresh_residency(self) -> None:
        """Ask the kernel whether every page is in RAM, and remember the answer in `resident`."""
        ...

    def close(self) -> None:
        """Let go of the rows; the memory goes when the last gather that runs has ended. May be called again."""
        ...
