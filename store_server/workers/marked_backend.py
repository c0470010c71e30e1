"""A backend that leaves a mark while its rows are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from store_server.storage import Backend


class OwnSlot(Protocol):
    """Where the calling thread leaves its mark."""

    @property
    def slot(self) -> memoryview:
        """The bytes for a name; that nothing is read is a first byte of 0."""
        ...


class MarkedBackend:
    """Any backend, with `name` in the slot of the thread that reads rows, for as long as it does."""

    def __init__(self, backend: Backend, own: OwnSlot, name: bytes) -> None:
        self.num_rows, self.row_bytes, self.kind = backend.num_rows, backend.row_bytes, backend.kind
        self.refresh_residency, self.close = backend.refresh_residency, backend.close
        self._backend = backend
        self._own = own
        self._name = name

    @property
    def resident(self) -> bool:
        """See Backend.resident."""
        return self._backend.resident

    @property
    def resident_bytes(self) -> int:
        """See Backend.resident_bytes."""
        return self._backend.resident_bytes

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """See Backend.gather."""
        slot = self._own.slot
        slot[:] = self._name
        try:
            self._backend.gather(rows, out)
        finally:
            slot[0] = 0

    def gather_from_ram(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> bool:
        """See Backend.gather_from_ram."""
        slot = self._own.slot
        slot[:] = self._name
        try:
            return self._backend.gather_from_ram(rows, out)
        finally:
            slot[0] = 0

    def blocks(self) -> Iterator[NDArray[np.uint8]]:
        """See Backend.blocks. Without marks: who reads all rows reads the files."""
        return self._backend.blocks()
