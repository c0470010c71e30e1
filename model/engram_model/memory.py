"""Where an Engram layer's rows are held: the small interface of local tables and tables of a memory store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class PendingEmbeddings(Protocol):
    """Memory embeddings that were asked for and not yet waited for."""

    waited_seconds: float
    """How long `wait` has stood still for rows so far; 0 where there is nothing to wait for."""

    def wait(self, timeout: float | None = None) -> Tensor:
        """Return the embeddings (B, T, memory_dim) with the device and data type that the module has by now.

        `timeout` is in seconds; None leaves it to the time limit of the store. The errors are those of the store.
        """
        ...


class Memory(Protocol):
    """One layer's table of rows."""

    def prefetch(self, rows: NDArray[np.int64]) -> PendingEmbeddings:
        """Ask for rows (B, T, columns) and return at once."""
        ...

    def embed(self, rows: NDArray[np.uint8] | Tensor) -> Tensor:
        """Return bytes of rows (B, T, columns, row_bytes), fetched by the caller, as embeddings (B, T, memory_dim)."""
        ...
