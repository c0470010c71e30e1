"""A handle on one version of one table, and its rows."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from engram_client.arrays import Ids, Int64Array, Uint8Array, as_output, as_rows
from engram_client.errors import FingerprintMismatch, WrongLoop
from engram_client.pending import PendingRows
from engram_client.retry import check_timeout
from engram_client.table_info import Described, TableInfo
from engram_client.transport import Transport


class CurrentVersions:
    """What handles read from: one value for all handles of a set, so that they move at one moment, for any thread."""

    def __init__(self, *infos: TableInfo) -> None:
        self.infos = {info.name: info for info in infos}


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

    def __init__(
        self,
        transport: Transport,
        info: TableInfo,
        fingerprint: str | None,
        timeout: float,
        current: CurrentVersions | None = None,
    ) -> None:
        self._transport = transport
        self._fingerprint = fingerprint
        self._timeout = timeout
        self._name = _checked(info, fingerprint).name
        self._current = current or CurrentVersions(info)  # shared by the handles of a set

    @property
    def info(self) -> TableInfo:
        """All of the description."""
        return self._current.infos[self._name]

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
        info = self.info  # once: another thread may refresh, and ids checked for one version must not read another
        rows = as_rows(ids, info.num_rows, info.name)
        buffer = as_output(out, (*rows.shape, info.row_bytes))
        return self._fetch(info, rows, buffer, limit)

    async def refresh(self, *, timeout: float | None = None) -> None:
        """Move this handle to the version that is current now. Fetches under way stay on theirs.

        Raises what Store.table does; the handle then stays where it is.
        """
        info = await self._transport.get_table(self.name, "", self._timeout if timeout is None else timeout)
        self._current.infos = {**self._current.infos, self._name: self.checked(info)}

    def checked(self, info: TableInfo) -> TableInfo:
        """Return `info` if this handle may move to it; raises FingerprintMismatch."""
        return _checked(info, self._fingerprint)

    async def _fetch(self, info: TableInfo, rows: Int64Array, buffer: Uint8Array, timeout: float) -> Uint8Array:
        if rows.size:
            await self._transport.fetch(info, rows.reshape(-1), buffer.reshape(-1, info.row_bytes), timeout)
        return buffer


def _checked(info: TableInfo, fingerprint: str | None) -> TableInfo:
    if fingerprint is not None and info.fingerprint != fingerprint:
        held = f"the table has {info.fingerprint!r}" if info.fingerprint else "the table carries none"
        raise FingerprintMismatch(
            f"table {info.name!r}, version {info.version}: {held}, this client hashes with {fingerprint!r}; "
            "rows looked up with another hashing are the wrong rows"
        )
    return info
