"""The async face: a store, its tables, and their rows."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from types import TracebackType
from typing import Self

from engram_client.arrays import Ids, Int64Array, Uint8Array, as_output, as_rows
from engram_client.caching import CacheUse, CachingTransport
from engram_client.errors import (
    FingerprintMismatch,
    InvalidTableName,
    TableNotFound,
    TableSetNotFound,
    WrongLoop,
)
from engram_client.pending import PendingRows
from engram_client.retry import check_timeout
from engram_client.table_info import Described, TableInfo
from engram_client.transport import Transport


class Table(Described):
    """One version of one table, made by `Store.table`.

    It stays on that version, whatever is published meanwhile, until `refresh`. Any number of tasks of its event loop
    may fetch at once; large fetches take turns, so that small ones need not wait for them.

    Example::

        out = np.empty((4096, table.row_bytes), np.uint8)
        pending = table.prefetch(next_ids)  # on its way, while this batch is computed
        await table.fetch(ids, out=out)  # ids: integers (4096,)
        next_rows = await pending  # uint8 (*next_ids.shape, table.row_bytes)
    """

    def __init__(self, transport: Transport, info: TableInfo, fingerprint: str | None, timeout: float) -> None:
        self._transport = transport
        self._fingerprint = fingerprint
        self._timeout = timeout
        self._info = _checked(info, fingerprint)

    @property
    def info(self) -> TableInfo:
        """All of the description."""
        return self._info

    async def fetch(self, ids: Ids, *, out: Uint8Array | None = None, timeout: float | None = None) -> Uint8Array:
        """Return rows uint8 (*ids.shape, row_bytes), in the order asked for, repeats included.

        Args:
            ids: row numbers, integers of any type and shape: lists, NumPy arrays, torch tensors on the CPU.
            out: C-contiguous uint8 of exactly (*ids.shape, row_bytes) to fill and return instead of a new array.
                If the fetch fails, its content is undefined.
            timeout: seconds, instead of the store's time limit.

        Raises:
            InvalidIds, RowOutOfRange, InvalidBuffer: before anything is sent.
            Unavailable, TimeLimitExceeded: at the time limit, after trying again.
            VersionNotFound: the version was dropped since the table was opened; `refresh` moves on.
            TableDamaged: the version was found to be damaged since.
            StoreClosed: the store was closed, before or meanwhile.
            WrongLoop: this is not the event loop that the store belongs to.
        """
        return await self.prepare_fetch(ids, out, timeout)

    def prefetch(self, ids: Ids, *, out: Uint8Array | None = None, timeout: float | None = None) -> PendingRows:
        """Start a fetch and return at once; await the result when the rows are needed.

        Takes what fetch takes; wrong arguments, and WrongLoop where no event loop runs, raise here, everything else
        where the result is awaited.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError as error:
            raise WrongLoop("prefetch needs a running event loop; connect_blocking has a prefetch without") from error
        return PendingRows(loop.create_task(self.prepare_fetch(ids, out, timeout)))

    def prepare_fetch(
        self, ids: Ids, out: Uint8Array | None, timeout: float | None
    ) -> Coroutine[None, None, Uint8Array]:
        """Check the arguments now and return the coroutine that does the rest, for a task or another loop to run."""
        limit = self._timeout if timeout is None else check_timeout(timeout)
        info = self._info  # once: another thread may refresh, and ids checked for one version must not read another
        rows = as_rows(ids, info.num_rows, info.name)
        buffer = as_output(out, (*rows.shape, info.row_bytes))
        return self._fetch(info, rows, buffer, limit)

    async def refresh(self, *, timeout: float | None = None) -> None:
        """Move this handle to the version that is current now. Fetches under way stay on theirs.

        Raises what Store.table does; the handle then stays where it is.
        """
        info = await self._transport.get_table(self.name, "", self._timeout if timeout is None else timeout)
        self.move_to(self.checked(info))

    def checked(self, info: TableInfo) -> TableInfo:
        """Return `info` if this handle may move to it; raises FingerprintMismatch."""
        return _checked(info, self._fingerprint)

    def move_to(self, info: TableInfo) -> None:
        """Read from now on what `info` describes, which `checked` has returned."""
        self._info = info

    async def _fetch(self, info: TableInfo, rows: Int64Array, buffer: Uint8Array, timeout: float) -> Uint8Array:
        if rows.size:
            await self._transport.fetch(info, rows.reshape(-1), buffer.reshape(-1, info.row_bytes), timeout)
        return buffer


class TableSet(Mapping[str, Table]):
    """The tables of a set, by name, at versions that belong together; made by `Store.table_set`.

    They stay on these versions until `refresh`, which moves all of them at once.

    Example::

        layers = await store.table_set("v41-flash")
        rows = await layers["v41-flash/layer-1"].fetch(ids)
        await layers.refresh()  # between two steps of a model: both layers, or neither
    """

    def __init__(self, store: Store, name: str, tables: dict[str, Table]) -> None:
        self.name = name
        self._store = store
        self._tables = tables

    def __getitem__(self, name: str) -> Table:
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    @property
    def versions(self) -> dict[str, str]:
        """Table to the version that its handle reads."""
        return {name: table.version for name, table in self._tables.items()}

    async def refresh(self, *, timeout: float | None = None) -> None:
        """Move all handles to the versions that are current now. Fetches under way stay on theirs.

        Raises what Store.table_set does, and TableNotFound if the set has lost a table that is open here; all handles
        then stay where they are.
        """
        infos = {info.name: info for info in await self._store.tables_of_set(self.name, timeout)}
        for name in self._tables.keys() - infos.keys():
            raise TableNotFound(f"table {name!r} is in set {self.name!r} no more")
        moves = [(table, table.checked(infos[name])) for name, table in self._tables.items()]
        for table, info in moves:
            table.move_to(info)


class Store:
    """A connection to tables, made by `connect`; `async with` closes it.

    Over gRPC it belongs to the event loop that uses it first: connect once in each.

    Example::

        async with engram_client.connect("grpc://127.0.0.1:50051") as store:
            names = [info.name for info in await store.tables()]
            table = await store.table(names[0], fingerprint=hasher.fingerprint(1))
    """

    def __init__(self, transport: Transport, timeout: float, cache: CachingTransport | None = None) -> None:
        self._transport = transport
        self._timeout = check_timeout(timeout)
        self._cache = cache

    @property
    def cache(self) -> dict[str, CacheUse]:
        """What the row cache did, by the name of the table; empty without a cache."""
        return {} if self._cache is None else dict(self._cache.use)

    async def table(
        self, name: str, version: str | None = None, fingerprint: str | None = None, *, timeout: float | None = None
    ) -> Table:
        """Open one version of a table.

        Args:
            name: such as "v41-flash/layer-1".
            version: as Table.version names it; None is the current one.
            fingerprint: of the hashing that row numbers will come from (NgramHasher.fingerprint), compared with the
                table's: rows of a table that was made for another hashing are the wrong rows. None compares nothing.
            timeout: seconds, instead of the store's time limit, for opening; fetches keep the store's.

        Raises:
            InvalidTableName, TableNotFound, VersionNotFound, FingerprintMismatch, TableDamaged: as they say.
            Unavailable, TimeLimitExceeded: at the time limit, after trying again.
        """
        if not isinstance(name, str) or not isinstance(version, str | None):
            raise InvalidTableName(f"a table and its version are named by text, got {name!r} and {version!r}")
        limit = self._timeout if timeout is None else timeout
        info = await self._transport.get_table(name, version or "", limit)
        return Table(self._transport, info, fingerprint, self._timeout)

    async def table_set(
        self, name: str, fingerprints: Mapping[str, str] | None = None, *, timeout: float | None = None
    ) -> TableSet:
        """Open the tables whose current versions belong together, such as the layers of one model.

        Args:
            name: of the set, as `publish` was given it.
            fingerprints: by table, as `table` takes them; a table without one is not compared.
            timeout: seconds, instead of the store's time limit, for opening.

        Raises:
            TableSetNotFound: the store has no such set. Only clusters have sets.
            TableNotFound: a fingerprint is given for a table that is not in it.
            FingerprintMismatch, Unavailable, TimeLimitExceeded: as `table`.
        """
        infos = await self.tables_of_set(name, timeout)
        known = fingerprints or {}
        for table in known.keys() - {info.name for info in infos}:
            raise TableNotFound(f"set {name!r} has no table {table!r}; it has {[info.name for info in infos]}")
        tables = {info.name: Table(self._transport, info, known.get(info.name), self._timeout) for info in infos}
        return TableSet(self, name, tables)

    async def tables_of_set(self, name: str, timeout: float | None = None) -> list[TableInfo]:
        """Describe the current versions of the tables of a set, which belong together; raises TableSetNotFound."""
        infos = await self.tables(timeout=timeout)
        found = [info for info in infos if name and info.table_set == name]
        if not found:
            known = sorted({info.table_set for info in infos if info.table_set})
            raise TableSetNotFound(f"no set {name!r}; the store has {', '.join(map(repr, known)) or 'no sets'}")
        return found

    async def tables(self, *, timeout: float | None = None) -> list[TableInfo]:
        """Describe the current version of every table that can be read, ordered by name.

        Raises Unavailable or TimeLimitExceeded at the time limit, in seconds.
        """
        return await self._transport.list_tables(self._timeout if timeout is None else timeout)

    async def close(self) -> None:
        """Let go of the connection; fetches under way fail with StoreClosed. May be called again."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


def _checked(info: TableInfo, fingerprint: str | None) -> TableInfo:
    if fingerprint is not None and info.fingerprint != fingerprint:
        held = f"the table has {info.fingerprint!r}" if info.fingerprint else "the table carries none"
        raise FingerprintMismatch(
            f"table {info.name!r}, version {info.version}: {held}, this client hashes with {fingerprint!r}; "
            "rows looked up with another hashing are the wrong rows"
        )
    return info
