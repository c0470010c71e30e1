"""Publishes one version after another of tables that are held in every way, and drops the ones that nobody reads."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Final

import numpy as np
from safetensors.numpy import save_file
from soak.stamped import NUM_ROWS, stamped_rows
from support.tables import write_table

from store_server.storage import root_writer
from store_server.storage.attachment import attached_manifest
from store_server.storage.files.safetensors_file import read_safetensors_file

IN_MEMORY: Final = "ram"
ATTACHED: Final = "attached"
TABLES: Final = ("flat", "tree", IN_MEMORY, ATTACHED)
_VERSIONS_KEPT: Final = 3  # of a table: clients go to the newest long before the oldest of them goes


class Swaps:
    """The next version of each table in turn. Versions are numbered from 1 on, whatever their table."""

    def __init__(self, root: Path) -> None:
        self.count = 0
        self._root = root
        self._kept = {table: deque[tuple[str, Path | None]]() for table in TABLES}

    def begin(self) -> None:
        """Publish a first version of every table."""
        for _ in TABLES:
            self.swap()

    def swap(self) -> None:
        """Publish the next version of the table whose turn it is, and drop its oldest."""
        table = TABLES[self.count % len(TABLES)]
        self.count += 1
        rows = stamped_rows(self.count, np.arange(NUM_ROWS))
        if table == ATTACHED:
            published: tuple[str, Path | None] = self._attach(rows)
        else:
            published = write_table(self._root, table, rows, backend="lmdb" if table == "tree" else "mmap"), None
        self._kept[table].append(published)
        if len(self._kept[table]) > _VERSIONS_KEPT:
            self._drop(table, *self._kept[table].popleft())

    def _attach(self, rows: np.ndarray) -> tuple[str, Path]:
        path = self._root.parent / f"checkpoint-{self.count}.safetensors"
        save_file({"rows": rows}, path)
        file = read_safetensors_file(path)
        manifest = attached_manifest([(file, file.tensors["rows"])])
        with root_writer(self._root) as writer:
            writer.attach({ATTACHED: manifest})
        return manifest.version, path

    def _drop(self, table: str, version: str, file: Path | None) -> None:
        with root_writer(self._root) as writer:
            writer.drop(table, version)
        if file is not None:
            file.unlink()
