"""Small files of a data root in which a node keeps what it knows of its cluster."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from store_server.storage.durable import disk_errors_named, make_directory, replace_file

if TYPE_CHECKING:
    from pathlib import Path

DIRECTORY: Final = "cluster"
"""Of a data root, where these files are."""


def keep_file(path: Path, data: bytes) -> None:
    """Replace a file at once, in a directory that is made if need be. Waits for a disk; raises StorageError."""
    with disk_errors_named(path.parent):
        make_directory(path.parent)
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        replace_file(path, data, temporary=temporary)
