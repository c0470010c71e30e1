"""What a node opens before it listens, and what keeps it from listening at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store_server.storage import StorageFailure, TableDamaged, VersionUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from store_server.catalog import Catalog


class NodeFailed(Exception):
    """A node cannot start."""


class NothingToServe(NodeFailed):
    """The data root has tables, and not one of them can be opened."""


def open_tables(catalog: Catalog, in_memory: Iterable[str], *, may_serve_nothing: bool) -> None:
    """Open all tables, which takes as long as disks and tables make it. Raises NodeFailed, StorageError."""
    catalog.reload()
    _check_in_memory(catalog, in_memory)
    num_tables = len(catalog.tables)
    if num_tables and not num_served(catalog) and not may_serve_nothing:
        raise NothingToServe(f"not one of the {num_tables} tables can be served; the log above says why")


def num_served(catalog: Catalog) -> int:
    """Return of how many tables the current version is open."""
    return sum(state.opened_current() is not None for state in catalog.tables.values())


def _check_in_memory(catalog: Catalog, in_memory: Iterable[str]) -> None:
    """Raise for a name that is misspelt, which would silently be served from disk, and a table that does not fit.

    One that the disk has lost is in the log, and keeps no other from being served.
    """
    for name in in_memory:
        try:
            catalog.find(name, "")
        except (TableDamaged, VersionUnavailable) as error:
            if not isinstance(error.__cause__, (TableDamaged, StorageFailure)):
                raise
