"""Backups made in this process, in small batches, with something done between two of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from store_server.backup.backup import backup_into
from store_server.backup.outcome import BackedUp
from store_server.backup.version_copy import Progress
from store_server.storage import DataRoot, verify


def back_up(
    root: Path, to: Path, *, between: Callable[[str], None] = lambda _: None, prune: bool = False
) -> list[BackedUp]:
    """Make a backup; `between` is called with the name of the table after each batch of its blocks."""

    @contextmanager
    def bar(title: str) -> Iterator[Progress]:
        yield lambda _done, _all: between(title.removeprefix("copying "))

    with backup_into(DataRoot.open(root), to, batch_bytes=1 << 20) as backup:
        return list(backup.run(bar, prune=prune))


def outcomes(backed_up: list[BackedUp]) -> dict[tuple[str, str], str]:
    """What became of each version, by table and version."""
    return {(each.table, each.version): each.outcome.value for each in backed_up}


def rows_in(root: Path, table: str, version: str | None = None) -> NDArray[np.uint8]:
    """All rows of a version of a root, by default the current one."""
    data_root = DataRoot.open(root)
    backend = data_root.open_backend(table, version or data_root.current_version(table))
    out = np.empty((backend.num_rows, backend.row_bytes), np.uint8)
    backend.gather(np.arange(backend.num_rows), out)
    backend.close()
    return out


def verified(root: Path) -> dict[str, list[str]]:
    """The versions of each table of a root, the current one first, each found to be as it was published."""
    data_root, found = DataRoot.open(root), {}
    for table in data_root.table_names():
        current = data_root.current_version(table)
        found[table] = [current, *(each for each in data_root.versions(table) if each != current)]
        for version in found[table]:
            list(verify(data_root, table, version))
    return found
