"""The async face: a connection to tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self

from engram_client.caching import CacheUse, CachingTransport
from engram_client.errors import EngramError, InvalidTableName, TableNotFound
from engram_client.metrics import MeasuredTransport, StoreMetrics
from engram_client.near_names import instead_of
from engram_client.retry import check_timeout
from engram_client.retry_counts import RetryCounts
from engram_client.table import Table
from engram_client.table_info import TableInfo
from engram_client.table_set import TableSet, open_table_set
from engram_client.transport import Transport

_LONGEST_LOOK_SECONDS: Final = 1.0  # at what else there is, once a table is not


class Store:
    """A connection to tables, made by `connect`; `async with` closes it.

    Over gRPC it belongs to the event loop that uses it first: connect once in each.

    Example::

        async with engram_client.connect("grpc://127.0.0.1:50051") as store:
            names = [info.name for info in await store.tables()]
            table = await store.table(names[0], fingerprint=hasher.fingerprint(1))
    """

    def __init__(
        self,
        transport: Transport,
        timeout: float,
        cache: CachingTransport | None = None,
        hedges: Callable[[], int] = lambda: 0,
        retries: RetryCounts | None = None,
    ) -> None:
        self.metrics = StoreMetrics()
        """What the store has done so far; `engram_client.prometheus` shows it to Prometheus."""
        self.retries = retries or RetryCounts()
        """Requests for rows that were sent again."""
        self._transport: Transport = MeasuredTransport(transport, self.metrics)
        self._hedges = hedges
        self._timeout = check_timeout(timeout)
        self._cache = cache

    @property
    def hedges(self) -> int:
        """How many requests were sent to a second node of a cluster before the first had answered."""
        return self._hedges()

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
        limit = self._timeout if timeout is None else check_timeout(timeout)
        give_up = time.monotonic() + limit
        try:
            info = await self._transport.get_table(name, version or "", limit)
        except TableNotFound as error:
            raise TableNotFound(f"{error}{await self._there_is(name, give_up)}") from error.__cause__
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
        return await open_table_set(
            self._transport,
            name,
            fingerprints or {},
            opening_timeout=self._timeout if timeout is None else timeout,
            timeout=self._timeout,
        )

    async def tables(self, *, timeout: float | None = None) -> list[TableInfo]:
        """Describe the current version of every table that can be read, ordered by name.

        Raises Unavailable or TimeLimitExceeded at the time limit, in seconds.
        """
        return await self._transport.list_tables(self._timeout if timeout is None else timeout)

    async def close(self) -> None:
        """Let go of the connection; fetches under way fail with StoreClosed. May be called again."""
        await self._transport.close()

    async def _there_is(self, name: str, give_up: float) -> str:
        """Return what to say of the tables that are there to who named one that is not; "" if that cannot be told."""
        limit = min(give_up - time.monotonic(), _LONGEST_LOOK_SECONDS)
        if limit <= 0:
            return ""
        try:
            infos = await self._transport.list_tables(limit)
        except EngramError:  # it is not what was asked for
            return ""
        return f"; {instead_of(name, [info.name for info in infos])}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
