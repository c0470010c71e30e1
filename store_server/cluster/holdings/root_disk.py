"""The disk below a data root, as far as it takes rows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from store_server.cluster.kept_file import DIRECTORY
from store_server.storage.durable import bytes_free, disk_errors_named, make_directory, write_new_file

if TYPE_CHECKING:
    from pathlib import Path


class RootDisk:
    """Of the data root at `root`. Each question waits for the disk."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def bytes_free(self) -> int:
        """Return how many bytes more it has room for. Raises OSError."""
        return bytes_free(self._root)

    def write_something(self) -> None:
        """Write, and remove again, a small file. Raises StorageError where that does not work."""
        path = self._root / DIRECTORY / f"try.{os.getpid()}"
        with disk_errors_named(path):
            make_directory(path.parent)
            path.unlink(missing_ok=True)
            write_new_file(path, b"rows could be written here\n")
            path.unlink()
