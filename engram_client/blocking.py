"""The blocking face: the same names without await, usable from any thread."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Final, Self

from engram_client.arrays import Ids, Uint8Array
from engram_client.caching import CacheUse
from engram_client.errors import TimeLimitExceeded
from engram_client.loop_thread import Job, LoopThread
from engram_client.metrics import StoreMetrics
from engram_client.retry_counts import RetryCounts
from engram_client.store import Store
from engram_client.table import Table
from engram_client.table_info import Described, TableInfo
from engram_client.table_set import TableSet

_CLOSE_SECONDS: Final = 10.0
_CANCEL_SECONDS: Final = 10.0  # a loop with thousands of fetches may take a second; after this it is stuck


class BlockingPendingRows:
    """A fetch that was started; `result` waits for it."""

    def __init__(self, job: Job[Uint8Array], what: str, *, cancel_seconds: float = _CANCEL_SECONDS) -> None:
        self._job = job
        self._what = what
        self._cancel_seconds = cancel_seconds

    def result(self, timeout: float | None = None) -> Uint8Array:
        """Return the rows or raise what went wrong; the fetch's own time limit holds in any case.

        After `timeout` seconds, or at an interrupt (Ctrl-C), the fetch is ended: the buffer is the caller's again,
        unless the error says otherwise (see `cancel`).

        Raises:
            TimeLimitExceeded: the rows are not there within `timeout` seconds, or within the fetch's own limit.
            concurrent.futures.CancelledError: `cancel`, or the time limit of an earlier `result`, has ended the fetch.
            StoreClosed: the store was closed meanwhile.
        """
        try:
            return self._job.future.result(timeout)
        except TimeoutError as error:
            if self._job.future.done() and not self._job.future.cancelled():
                return self._job.future.result()  # it ended this very moment, or at the time limit of its own
            self.cancel()
            raise TimeLimitExceeded(f"{self._what}: not there within {timeout} s; the fetch was ended") from error
        except KeyboardInterrupt as interrupt:
            try:
                self.cancel()
            except TimeLimitExceeded as error:
                interrupt.add_note(str(error))
            raise

    def done(self) -> bool:
        """Tell whether the rows are there, or never will be."""
        return self._job.future.done()

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Call `callback` once it is done: at once, or on the store's own thread, which must not be kept waiting."""
        self._job.future.add_done_callback(lambda _: callback())

    def request_cancel(self) -> None:
        """Ask for the end of the lookup and return at once, for callers that must not wait.

        Its buffer must not be used again before `done`.
        """
        self._job.request_cancel()

    def cancel(self) -> bool:
        """End the lookup and wait until nothing writes into the buffer any more; False if it had ended already.

        Raises TimeLimitExceeded if it has not ended within 10 s, as when a disk keeps the store's event loop waiting:
        the buffer must not be used again before `done`.
        """
        try:
            return self._job.cancel(self._cancel_seconds)
        except TimeLimitExceeded as error:
            raise TimeLimitExceeded(
                f"{self._what}: the fetch has not ended within {self._cancel_seconds:g} s of its cancellation; "
                "do not use its buffer again before done() is true"
            ) from error


class BlockingTable(Described):
    """One version of one table, as `Table`, without await. Any number of threads may share it.

    Example::

        pending = table.prefetch(ids)  # ids: integers of any shape
        rows = pending.result()  # uint8 (*ids.shape, table.row_bytes)
    """

    def __init__(self, table: Table, loop: LoopThread) -> None:
        self._table = table
        self._loop = loop

    @property
    def info(self) -> TableInfo:
        """All of the description."""
        return self._table.info

    def fetch(self, ids: Ids, *, out: Uint8Array | None = None, timeout: float | None = None) -> Uint8Array:
        """Return rows uint8 (*ids.shape, row_bytes); takes and raises what Table.fetch does."""
        return self.prefetch(ids, out=out, timeout=timeout).result()

    def prefetch(self, ids: Ids, *, out: Uint8Array | None = None, timeout: float | None = None) -> BlockingPendingRows:
        """Start a fetch and return at once.

        Takes what fetch takes; wrong arguments raise here, everything else from `result`.
        """
        job = self._loop.start(self._table.prepare_fetch(ids, out, timeout))
        return BlockingPendingRows(job, f"rows of table {self.name!r}")

    def refresh(self, *, timeout: float | None = None) -> None:
        """Move this handle to the version that is current now; raises what Table.refresh does."""
        self._loop.run(self._table.refresh(timeout=timeout))


class BlockingTableSet(Mapping[str, BlockingTable]):
    """The tables of a set at versions that belong together; as TableSet."""

    def __init__(self, table_set: TableSet, loop: LoopThread) -> None:
        self.name = table_set.name
        self._table_set = table_set
        self._tables = {name: BlockingTable(table, loop) for name, table in table_set.items()}
        self._loop = loop

    def __getitem__(self, name: str) -> BlockingTable:
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def __repr__(self) -> str:
        return f"<BlockingTableSet {self.name!r} {self.versions}>"

    @property
    def versions(self) -> dict[str, str]:
        """Table to the version that its handle reads."""
        return self._table_set.versions

    def refresh(self, *, timeout: float | None = None) -> None:
        """Move all handles to the versions that are current now; raises what TableSet.refresh does."""
        self._loop.run(self._table_set.refresh(timeout=timeout))


class BlockingStore:
    """A connection to tables, made by `connect_blocking`; `with` closes it, and so does the end of the program.

    Any number of threads may share it. In a forked child its calls raise ForkedProcess: connect there anew.

    Example::

        with engram_client.connect_blocking("grpc://127.0.0.1:50051") as store:
            rows = store.table("v41-flash/layer-1").fetch([3, 1, 4])  # uint8 (3, row_bytes)
    """

    def __init__(self, store: Store, *, close_seconds: float = _CLOSE_SECONDS) -> None:
        self._store = store
        self._close_seconds = close_seconds
        self._loop = LoopThread()
        self._pid = os.getpid()
        atexit.register(self._close_at_exit)

    def table(
        self, name: str, version: str | None = None, fingerprint: str | None = None, *, timeout: float | None = None
    ) -> BlockingTable:
        """Open one version of a table; takes and raises what Store.table does."""
        return BlockingTable(self._loop.run(self._store.table(name, version, fingerprint, timeout=timeout)), self._loop)

    def table_set(
        self, name: str, fingerprints: Mapping[str, str] | None = None, *, timeout: float | None = None
    ) -> BlockingTableSet:
        """Open the tables whose current versions belong together; takes and raises what Store.table_set does."""
        table_set = self._loop.run(self._store.table_set(name, fingerprints, timeout=timeout))
        return BlockingTableSet(table_set, self._loop)

    def tables(self, *, timeout: float | None = None) -> list[TableInfo]:
        """Describe the current version of every table that can be read, ordered by name."""
        return self._loop.run(self._store.tables(timeout=timeout))

    @property
    def metrics(self) -> StoreMetrics:
        """What the store has done so far, as Store.metrics."""
        return self._store.metrics

    @property
    def retries(self) -> RetryCounts:
        """As Store.retries."""
        return self._store.retries

    @property
    def hedges(self) -> int:
        """As Store.hedges."""
        return self._store.hedges

    @property
    def cache(self) -> dict[str, CacheUse]:
        """What the row cache did, by the name of the table; empty without a cache."""
        return self._store.cache

    def close(self) -> None:
        """Let go of the connection; fetches under way fail with StoreClosed.

        May be called again, and by several threads at once: each returns when the store is closed. Raises
        TimeLimitExceeded when that takes more than some seconds; the store is closed to its users all the same.
        """
        atexit.unregister(self._close_at_exit)
        self._loop.close(self._store.close, self._close_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.close()
        except TimeLimitExceeded as late:
            if error is None:
                raise
            error.add_note(str(late))  # what ended the block counts, such as the exit status of a program told to end

    def _close_at_exit(self) -> None:
        if self._pid == os.getpid():  # a forked child has the registration, but not the thread
            self.close()
