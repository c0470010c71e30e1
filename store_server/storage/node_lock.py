"""The lock that makes a node the only one that fetches into a data root and takes away from it."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from store_server.storage.durable import disk_errors_named
from store_server.storage.errors import RootOfAnotherNode, StorageFailure

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "NODE"
_LONGEST_NAME_BYTES = 1024


class NodeLock:
    """Held from `take` to `release`, or to the end of the process. The file says who has it, and stays."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._file: int | None = None

    def take(self, node_id: str) -> None:
        """Raise RootOfAnotherNode if somebody else has it; StorageFailure, RootNotWritable."""
        with disk_errors_named(self._root):
            file = os.open(self._root / _NAME, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(file, _LONGEST_NAME_BYTES, 0).decode(errors="replace").strip()
            os.close(file)
            raise RootOfAnotherNode(self._root, holder) from None
        except OSError as error:
            os.close(file)
            raise StorageFailure(self._root / _NAME, f"cannot be locked: {error.strerror}") from error
        self._file = file
        with suppress(OSError):  # a full disk keeps nobody from being the one
            os.ftruncate(file, 0)
            os.pwrite(file, f"{node_id}, process {os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let others have it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
