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
        """How the rows are held: "memory", "mmap", "lmdb" or "safetensors"."""
        ...

    @property
    def resident(self) -> bool:
        """Whether all rows were in RAM when last looked at, so that a gather waits for no disk."""
        ...

    @property
    def resident_bytes(self) -> int:
        """How many bytes of it were in RAM when last looked at."""
        ...

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Copy rows into `out` in the order asked for, repeats included; waits for a disk where that is needed.

        `rows` is (n,) int64, each 0 to num_rows - 1: the caller has checked them, one outside reads a wrong row. `out`
        is (n, row_bytes) uint8, C-contiguous and writable. Raises BackendClosed, TableDamaged, and RowsNotHeld when a
        row lies in a block that is not held: before anything is copied, or at the end if the block went meanwhile.
        """
        ...

    def gather_from_ram(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> bool:
        """Gather if all the rows are known to be in RAM and return True, or leave `out` as it is and return False.

        What is known may be old: at worst some rows have to come from disk after all. Raises as `gather` does.
        """
        ...

    def blocks(self) -> Iterator[NDArray[np.uint8]]:
        """Yield all rows in order, a block (rows, row_bytes) uint8 at a time. Raises as `gather` does."""
        ...

    def refresh_residency(self, deadline: float | None = None) -> bool:
        """Ask the kernel which pages are in RAM: all of them, or from where the last call stopped until `deadline`.

        `deadline` is by time.monotonic, and at least some pages are asked about. Returns whether it came to the end.
        """
        ...

    def close(self) -> None:
        """Let go of the rows; the memory goes when the last gather that runs has ended. May be called again."""
        ...
