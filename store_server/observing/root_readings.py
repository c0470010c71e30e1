"""What a node shows of the place where its data root lies."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from store_server.observing.readings import Readings


def read_root(root: Path, readings: Readings) -> None:
    """Show how large it is, how much can still be written there, and whether anything can."""

    def free_bytes() -> float:
        found = os.statvfs(root)
        return found.f_bavail * found.f_frsize

    def all_bytes() -> float:
        found = os.statvfs(root)
        return found.f_blocks * found.f_frsize

    readings.gauge("engram_root_bytes", "Size of the file system that the data root lies on.", all_bytes)
    readings.gauge("engram_root_free_bytes", "Bytes that can still be written below the data root.", free_bytes)
    readings.gauge("engram_root_writable", "Whether the data root can be written to.", lambda: os.access(root, os.W_OK))
