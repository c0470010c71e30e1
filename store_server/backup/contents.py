"""What a data root holds at a moment: the tables, which version of each is current, and the others."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from store_server.storage import StorageError, TableNotFound

if TYPE_CHECKING:
    from store_server.storage import DataRoot


class TableContents(NamedTuple):
    """The versions of a table; those that are not current may be none."""

    table: str
    current: str
    others: tuple[str, ...]


class Contents(NamedTuple):
    """All tables that can be told of, and of the rest why not."""

    tables: list[TableContents]
    failures: dict[str, StorageError]


def contents(root: DataRoot) -> Contents:
    """Look at a data root. Raises StorageFailure where not even the tables can be listed."""
    found = Contents([], {})
    for table in root.table_names():
        try:
            if (one := contents_of(root, table)) is not None:
                found.tables.append(one)
        except StorageError as error:
            found.failures[table] = error
    return found


def contents_of(root: DataRoot, table: str) -> TableContents | None:
    """Look at a table, None for one that was dropped. Raises StorageError."""
    with suppress(TableNotFound):
        current = root.current_version(table)
        others = tuple(version for version in root.versions(table) if version != current)
        return TableContents(table, current, others)
    return None
