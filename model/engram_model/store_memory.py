"""A table of rows that lives in a memory store."""

from __future__ import annotations

import time
import warnings
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from torch import Tensor, nn

from engram_client.errors import FingerprintMismatch
from engram_client.formats import decoded_shape, find_format
from engram_model.rows import decode_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from engram_client.formats import RowFormat
    from engram_client.hashing import RowHasher
    from engram_model.config import EngramConfig

# Whoever makes an EngramModule: past _check_fingerprint, _check, StoreMemory, EngramModule._store_memory, EngramModule.
_FRAMES_TO_THE_CALLER = 6


class StoreMemory(nn.Module):
    """A table of a memory store, checked on creation; it takes no gradients and is no part of the state dict.

    It is checked again before rows are read from it when it tells something else about itself than before: `refresh`
    may have moved it to a version that was made for another hash.

    Args:
        table: a table of the client; one that is not blocking only tells what its rows are, the caller fetches them.
        config: tells how wide a row must be, and whether the table is padded.
        hasher: tells how many rows are reached, and the fingerprint.
        layer_id: the layer that reads the table.

    Raises:
        MemoryMismatch: the table has another number of rows than the hash reaches, padded if the configuration says so,
            or rows of another width or format.
        FingerprintMismatch: the table carries a fingerprint, and it is not the hasher's.

    Warns:
        UnidentifiedTable: the table carries no fingerprint.
    """

    def __init__(self, table: TableFacts, config: EngramConfig, hasher: RowHasher, layer_id: int) -> None:
        super().__init__()
        self.table = table
        reached = hasher.num_rows[layer_id]
        self._needed = _Needed(
            layer_id=layer_id,
            reached_rows=reached,
            num_rows=config.padded(reached),
            embedding_dim=config.embedding_dim,
            fingerprint=hasher.fingerprint(layer_id),
        )
        facts = _facts_of(table)
        self._terms = FetchTerms(facts, _check(facts, self._needed))

    @property
    def table_bytes(self) -> int:
        """Bytes that the table takes, where it is."""
        return self.table.num_rows * self.table.row_bytes

    def prefetch(self, rows: NDArray[np.int64] | Tensor) -> StoreFetch:
        """Send the row numbers (B, T, columns) to the store and return at once.

        Raises:
            TypeError: the table is async.
            MemoryMismatch, FingerprintMismatch: it has moved to a version that does not fit.
        """
        table = _blocking(self.table)
        on_host = rows.cpu().numpy() if isinstance(rows, Tensor) else rows
        while True:
            terms = self.terms()
            pending = table.prefetch(on_host)
            if self.terms_hold(terms):  # else another thread moved the table, before or after these rows were read
                return StoreFetch(pending, terms.row_format)

    def embed(self, rows: NDArray[np.uint8] | Tensor) -> Tensor:
        """Return bytes (B, T, columns, row_bytes) in the store's row format as embeddings (B, T, memory_dim).

        Raises as `prefetch` if the table has moved to a version that does not fit.
        """
        return decode_rows(rows, self.terms().row_format).flatten(-2)

    def row_source(self) -> StoreTable:
        """Return the table as something to fetch from. Raises TypeError if it is async."""
        return _blocking(self.table)

    def terms(self) -> FetchTerms:
        """Return what the table's rows are, after checking the table if it is no longer the one that was checked.

        Raises MemoryMismatch or FingerprintMismatch if it has moved to a version that does not fit.
        """
        facts = _facts_of(self.table)
        if facts != self._terms.facts:
            self._terms = FetchTerms(facts, _check(facts, self._needed))
        return self._terms

    def terms_hold(self, terms: FetchTerms) -> bool:
        """Tell whether the table is still the one that `terms` were of."""
        return _facts_of(self.table) == terms.facts


class StoreFetch:
    """Rows on their way from a memory store."""

    def __init__(self, pending: PendingRows, row_format: RowFormat) -> None:
        self._pending = pending
        self._row_format = row_format
        self.waited_seconds = 0.0

    def wait(self, timeout: float | None = None) -> Tensor:
        """Return the embeddings (B, T, memory_dim), after the rows have arrived."""
        started = time.perf_counter()
        try:
            rows = self._pending.result(timeout)  # (B, T, columns, row_bytes)
        finally:
            self.waited_seconds += time.perf_counter() - started
        return decode_rows(rows, self._row_format).flatten(-2)


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
    """A blocking table of `engram_client`, or whatever stands before one and sends less.

    The ids are those of one layer, repeats not yet taken out: (B, T, columns) with the columns in the order of the
    hash; where several ranks share a fetch (n,), each rank's after the other's.
    """

    def prefetch(
        self, ids: NDArray[np.int64], /, *, out: NDArray[np.uint8] | None = None, timeout: float | None = None
    ) -> PendingRows:
        """Start fetching rows, into `out` if given, within `timeout` seconds, and return at once."""
        ...


class PendingRows(Protocol):
    """A fetch that was started by a blocking table."""

    def result(self, timeout: float | None = None) -> NDArray[np.uint8]:
        """Wait for the rows, (*ids.shape, row_bytes)."""
        ...

    def done(self) -> bool:
        """Tell whether it has ended: from then on nothing writes into its buffer."""
        ...

    def request_cancel(self) -> None:
        """Ask for its end and return at once; it has ended when `done` says so."""
        ...

    def add_done_callback(self, callback: Callable[[], None], /) -> None:
        """Call `callback` when it has ended, at once if it has, from any thread."""
        ...


class MemoryMismatch(ValueError):
    """A table is not the one that the configuration describes."""


class UnidentifiedTable(UserWarning):
    """A table does not say which hash it was made for, so nothing can tell whether its rows are the right ones."""


class _Facts(NamedTuple):
    """What decides whether a table fits, and how its rows are read."""

    num_rows: int
    row_bytes: int
    row_format: str
    fingerprint: str
    version: str | None


class FetchTerms(NamedTuple):
    """What a fetch was started for: the rows may be read like this only if the table is still the same afterwards."""

    facts: _Facts
    row_format: RowFormat

    @property
    def row_bytes(self) -> int:
        """Width of a row."""
        return self.facts.row_bytes

    @property
    def version(self) -> str | None:
        """Version of the table; None if it tells none."""
        return self.facts.version


class _Needed(NamedTuple):
    """What a layer asks of its table."""

    layer_id: int
    reached_rows: int
    num_rows: int
    """The rows that are reached, padded if the configuration says so."""
    embedding_dim: int
    fingerprint: str


def _blocking(table: TableFacts) -> StoreTable:
    if iscoroutinefunction(getattr(table, "fetch", None)):
        raise TypeError(
            "the memory is an async table: await table.fetch(module.row_ids(input_ids)) and pass the rows as "
            "memory_embeddings, or open the table with connect_blocking"
        )
    return cast("StoreTable", table)


def _facts_of(table: TableFacts) -> _Facts:
    version = getattr(table, "version", None)
    return _Facts(table.num_rows, table.row_bytes, table.row_format, table.fingerprint, version)


def _check(facts: _Facts, needed: _Needed) -> RowFormat:
    """Return the format of the rows of a table that fits."""
    if facts.num_rows != needed.num_rows:
        padded = "" if needed.num_rows == needed.reached_rows else f", padded to {needed.num_rows}"
        raise MemoryMismatch(f"the hash reaches {needed.reached_rows} rows{padded}, the table has {facts.num_rows}")
    row_format = _check_row_width(facts, needed.embedding_dim)
    _check_fingerprint(facts, needed)
    return row_format


def _check_row_width(facts: _Facts, embedding_dim: int) -> RowFormat:
    rows = f"the table's rows of {facts.row_bytes} bytes in the format {facts.row_format!r}"
    try:
        row_format = find_format(facts.row_format)
        (elements,) = decoded_shape(row_format, (facts.row_bytes,))
    except ValueError as error:
        raise MemoryMismatch(f"{rows} cannot be decoded: {error}") from error
    if elements != embedding_dim:
        raise MemoryMismatch(f"embedding_dim is {embedding_dim}, {rows} hold {elements} numbers")
    return row_format


def _check_fingerprint(facts: _Facts, needed: _Needed) -> None:
    if not facts.fingerprint:
        warnings.warn(
            f"the table carries no fingerprint, so nothing tells whether it was made for the hash of layer "
            f"{needed.layer_id}, {needed.fingerprint}: another hash would read wrong rows in silence. Import it with "
            "that fingerprint, or ignore this warning (engram_model.UnidentifiedTable) if you know where it is from",
            UnidentifiedTable,
            stacklevel=_FRAMES_TO_THE_CALLER,
        )
    elif facts.fingerprint != needed.fingerprint:
        raise FingerprintMismatch(
            f"layer {needed.layer_id} hashes as {needed.fingerprint}, the table was made for {facts.fingerprint}: its "
            "rows would be the wrong ones"
        )
