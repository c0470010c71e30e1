"""Memory that tables are loaded into: anonymous memory of this process, or what other processes share."""

from __future__ import annotations

import logging
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from store_server.storage.errors import NotEnoughMemory

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from numpy.typing import NDArray

    from store_server.storage.stored_version import StoredVersion

_log = logging.getLogger(__name__)
_HUGE_PAGE_SETTING: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@dataclass(frozen=True, slots=True)
class LoadedRows:
    """The rows of a version in RAM.

    `table`: (num_rows, row_bytes) uint8, read-only. `huge_pages_wished`: whether the kernel took the wish for
    huge pages, which is no promise that it has them.
    `let_go` is to be called once the rows are not wanted any more; the memory goes when nobody uses `table` either.
    """

    table: NDArray[np.uint8]
    huge_pages_wished: bool
    let_go: Callable[[], None]


class RowMemory(Protocol):
    """A place for the rows of versions that are loaded into RAM."""

    def loaded(
        self,
        stored: StoredVersion,
        load: Callable[[NDArray[np.uint8]], None],
        *,
        huge_pages: bool,
        stop: threading.Event,
    ) -> LoadedRows:
        """Return the rows, which `load` has put into an array (num_rows, row_bytes) uint8; here or in another process.

        Raises what `load` does, NotEnoughMemory, and LoadingStopped where it had to wait and `stop` was set.
        """
        ...


class PrivateMemory:
    """Anonymous memory of this process alone."""

    def loaded(
        self,
        stored: StoredVersion,
        load: Callable[[NDArray[np.uint8]], None],
        *,
        huge_pages: bool,
        stop: threading.Event,  # noqa: ARG002
    ) -> LoadedRows:
        """See RowMemory.loaded."""
        memory = reserve(stored)
        is_wished = huge_pages and ask_for_huge_pages(stored.table, memory, _HUGE_PAGE_SETTING)
        table = as_table(memory, stored)
        load(table)
        table.flags.writeable = False
        return LoadedRows(table, is_wished, let_go=lambda: None)


def as_table(memory: mmap.mmap, stored: StoredVersion) -> NDArray[np.uint8]:
    """Return all rows in `memory`, (num_rows, row_bytes)."""
    return np.frombuffer(memory, np.uint8).reshape(stored.manifest.num_rows, stored.manifest.row_bytes)


def reserve(stored: StoredVersion) -> mmap.mmap:
    """Return anonymous memory for all rows; raises NotEnoughMemory where the kernel sees that there is not so much."""
    num_bytes = stored.manifest.num_bytes
    try:
        return mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError) as error:
        raise NotEnoughMemory(stored.table, num_bytes, str(error)) from error


def ask_for_huge_pages(table: str, memory: mmap.mmap, setting_file: Path) -> bool:
    """Return whether the kernel took the wish; a node without huge pages serves all the same, and says so."""
    try:
        memory.madvise(mmap.MADV_HUGEPAGE)
        setting = setting_file.read_text()
    except OSError as error:
        _log.warning("no huge pages for table %s: %s", table, error)
        return False
    if "[never]" in setting or "[deny]" in setting:
        _log.warning("no huge pages for table %s: %s is set to %s", table, setting_file, setting.strip())
        return False
    return True
