"""A table of rows that lives in a memory store."""

from __future__ import annotations

import time
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from torch import Tensor, nn

from engram_client.errors import FingerprintMismatch
from engram_model.rows import decode_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engram_client.hashing import RowHasher
    from engram_model.config import EngramConfig


class StoreMemory(nn.Module):
    """A table of a memory store, checked on creation; it takes no gradients and is no part of the state dict.

    Args:
        table: a table of the client; one that is not blocking only tells what its rows are, the caller fetches them.
        config: tells how wide a row must be, and whether the table is padded.
        hasher: tells how many rows are reached, and the fingerprint.
        layer_id: the layer that reads the table.

    Raises:
        MemoryMismatch: the table has another number of rows than the hash reaches, padded if the configuration says so,
            or rows of another width or format.
        FingerprintMismatch: the table carries a fingerprint, and it is not the hasher's.
    """

    def __init__(self, table: TableFacts, config: EngramConfig, hasher: RowHasher, layer_id: int) -> None:
        super().__init__()
        _check_num_rows(table, config, hasher.num_rows[layer_id])
        _check_row_width(table, config.embedding_dim)
        _check_fingerprint(table, hasher, layer_id)
        self.table = table

    @property
    def table_bytes(self) -> int:
        """Bytes that the table takes, where it is."""
        return self.table.num_rows * self.table.row_bytes

    def prefetch(self, rows: NDArray[np.int64] | Tensor) -> StoreFetch:
        """Send the row numbers (B, T, columns) to the store and return at once; TypeError if the table is async."""
        on_host = rows.cpu().numpy() if isinstance(rows, Tensor) else rows
        return StoreFetch(self, _blocking(self.table).prefetch(on_host))

    def embed(self, rows: NDArray[np.uint8] | Tensor) -> Tensor:
        """Return bytes (B, T, columns, row_bytes) in the store's row format as embeddings (B, T, memory_dim)."""
        return decode_rows(rows, self.table.row_format).flatten(-2)


class StoreFetch:
    """Rows on their way from a memory store."""

    def __init__(self, memory: StoreMemory, pending: PendingRows) -> None:
        self._memory = memory
        self._pending = pending
        self.waited_seconds = 0.0

    def wait(self, timeout: float | None = None) -> Tensor:
        """Return the embeddings (B, T, memory_dim), after the rows have arrived."""
        started = time.perf_counter()
        try:
            rows = self._pending.result(timeout)  # (B, T, columns, row_bytes)
        finally:
            self.waited_seconds += time.perf_counter() - started
        return self._memory.embed(rows)


class TableFacts(Protocol):
    """What every table of `engram_client` tells about itself, blocking or async."""

    @property
    def num_rows(self) -> int:
        """Rows of the whole table."""
        ...

    @property
    def row_bytes(self) -> int:
        """Width of a row."""
        ...

    @property
    def row_format(self) -> str:
        """What the bytes of a row mean, for example "bfloat16"."""
        ...

    @property
    def fingerprint(self) -> str:
        """The digest of the hashing that the table was made for; "" if nobody recorded it."""
        ...


class StoreTable(TableFacts, Protocol):
    """A blocking table of `engram_client`."""

    def prefetch(self, ids: NDArray[np.int64], /) -> PendingRows:
        """Start fetching rows and return at once."""
        ...


class PendingRows(Protocol):
    """A fetch that was started by a blocking table."""

    def result(self, timeout: float | None = None) -> NDArray[np.uint8]:
        """Wait for the rows, (*ids.shape, row_bytes)."""
        ...


class MemoryMismatch(ValueError):
    """A table is not the one that the configuration describes."""


def _blocking(table: TableFacts) -> StoreTable:
    if iscoroutinefunction(getattr(table, "fetch", None)):
        raise TypeError(
            "the memory is an async table: await table.fetch(module.row_ids(input_ids)) and pass the rows as "
            "memory_embeddings, or open the table with connect_blocking"
        )
    return cast("StoreTable", table)


def _check_num_rows(table: TableFacts, config: EngramConfig, reached: int) -> None:
    expected = config.padded(reached)
    if table.num_rows != expected:
        padded = "" if expected == reached else f", padded to {expected}"
        raise MemoryMismatch(f"the hash reaches {reached} rows{padded}, the table has {table.num_rows}")


def _check_row_width(table: TableFacts, embedding_dim: int) -> None:
    try:
        elements = decode_rows(np.zeros((1, table.row_bytes), dtype=np.uint8), table.row_format).shape[-1]
    except ValueError as error:
        raise MemoryMismatch(
            f"the table's rows of {table.row_bytes} bytes in the format {table.row_format!r} cannot be decoded: {error}"
        ) from error
    if elements != embedding_dim:
        raise MemoryMismatch(
            f"embedding_dim is {embedding_dim}, the table's rows of {table.row_bytes} bytes in the format "
            f"{table.row_format!r} hold {elements} numbers"
        )


def _check_fingerprint(table: TableFacts, hasher: RowHasher, layer_id: int) -> None:
    expected = hasher.fingerprint(layer_id)
    if table.fingerprint and table.fingerprint != expected:
        raise FingerprintMismatch(
            f"layer {layer_id} hashes as {expected}, the table was made for {table.fingerprint}: its rows would be "
            "the wrong ones"
        )
