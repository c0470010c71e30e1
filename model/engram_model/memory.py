"""Where an Engram layer's rows are held: the small interface of local tables and tables of a memory store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn


class RowsLate(TimeoutError):
    """A layer's rows were not there at its turn, and it was decided beforehand not to wait for them.

    `EngramModule.forward` answers it by passing its input through unchanged.
    """


class PendingEmbeddings(Protocol):
    """Memory embeddings that were asked for and not yet waited for."""

    @property
    def waited_seconds(self) -> float:
        """How long `wait` has stood still for rows so far; 0 where there is nothing to wait for."""
        ...

    def wait(self, timeout: float | None = None) -> Tensor:
        """Return the embeddings (B, T, memory_dim) with the device and data type that the module has by now.

        `timeout` is in seconds; None leaves it to the time limit of the store. The errors are those of the store, and
        RowsLate.
        """
        ...


class Memory(Protocol):
    """One layer's table of rows."""

    @property
    def table_bytes(self) -> int:
        """Bytes that the table takes, wherever it is."""
        ...

    def prefetch(self, rows: NDArray[np.int64] | Tensor) -> PendingEmbeddings:
        """Ask for rows (B, T, columns) and return at once; what comes has the table's device and data type."""
        ...

    def embed(self, rows: NDArray[np.uint8] | Tensor) -> Tensor:
        """Return bytes of rows (B, T, columns, row_bytes), fetched by the caller, as embeddings (B, T, memory_dim)."""
        ...


class PlacedEmbeddings:
    """Pending embeddings that go where a layer is: its table may lie on another device, or have another data type."""

    def __init__(self, pending: PendingEmbeddings, projection: nn.Linear) -> None:
        self._pending = pending
        self._projection = projection

    @property
    def waited_seconds(self) -> float:
        """How long `wait` has stood still for rows so far."""
        return self._pending.waited_seconds

    def wait(self, timeout: float | None = None) -> Tensor:
        """Return the embeddings (B, T, memory_dim), ready for the projection as it is by now."""
        return self._pending.wait(timeout).to(self._projection.weight)
