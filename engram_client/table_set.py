"""Handles on the tables of a set, which move to new versions together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engram_client.errors import TableNotFound, TableSetNotFound
from engram_client.table import CurrentVersions, Table
from engram_client.table_info import TableInfo
from engram_client.transport import Transport


class TableSet(Mapping[str, Table]):
    """The tables of a set, by name, at versions that belong together; made by `Store.table_set`.

    They stay on these versions until `refresh`, which moves all of them at once.

    Example::

        layers = await store.table_set("v41-flash")
        rows = await layers["v41-flash/layer-1"].fetch(ids)
        await layers.refresh()  # between two steps of a model: both layers, or neither
    """

    def __init__(
        self, transport: Transport, name: str, tables: dict[str, Table], current: CurrentVersions, timeout: float
    ) -> None:
        self.name = name
        self._current = current
        self._transport = transport
        self._tables = tables
        self._timeout = timeout

    def __getitem__(self, name: str) -> Table:
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    @property
    def versions(self) -> dict[str, str]:
        """Table to the version that its handle reads."""
        return {name: info.version for name, info in self._current.infos.items()}

    async def refresh(self, *, timeout: float | None = None) -> None:
        """Move all handles to the versions that are current now. Fetches under way stay on theirs.

        Raises what Store.table_set does, and TableNotFound if the set has lost a table that is open here; all handles
        then stay where they are.
        """
        described = await _described(self._transport, self.name, self._timeout if timeout is None else timeout)
        infos = {info.name: info for info in described}
        for name in self._tables.keys() - infos.keys():
            raise TableNotFound(f"table {name!r} is in set {self.name!r} no more")
        self._current.infos = {name: table.checked(infos[name]) for name, table in self._tables.items()}


async def open_table_set(
    transport: Transport, name: str, fingerprints: Mapping[str, str], *, opening_timeout: float, timeout: float
) -> TableSet:
    """Open the tables of a set for Store.table_set, within `opening_timeout` seconds; fetches have `timeout`."""
    infos = await _described(transport, name, opening_timeout)
    for table in fingerprints.keys() - {info.name for info in infos}:
        raise TableNotFound(f"set {name!r} has no table {table!r}; it has {[info.name for info in infos]}")
    current = CurrentVersions(*infos)
    tables = {info.name: Table(transport, info, fingerprints.get(info.name), timeout, current) for info in infos}
    return TableSet(transport, name, tables, current, timeout)


async def _described(transport: Transport, name: str, timeout: float) -> list[TableInfo]:
    """Return the current versions of the tables of a set: of one answer, so they belong together."""
    infos = await transport.list_tables(timeout)
    found = [info for info in infos if name and info.table_set == name]
    if not found:
        known = sorted({info.table_set for info in infos if info.table_set})
        raise TableSetNotFound(f"no set {name!r}; the store has {', '.join(map(repr, known)) or 'no sets'}")
    return found
