"""Rows read in place from file maps: the backends `mmap`, `lmdb` and `safetensors` differ in how the rows lie."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from store_server.storage.errors import BackendClosed, StorageFailure, TableDamaged
from store_server.storage.held_now import HeldNow
from store_server.storage.pages.page_map import PageMap
from store_server.storage.pages.read_ahead import PagesUnreadable, read_ahead

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from store_server.storage.files.version_files import VersionFiles
    from store_server.storage.pages.file_map import FileMap
    from store_server.storage.pages.resident_set import ResidentSet
    from store_server.storage.row_layout import RowLayout
    from store_server.storage.stored_version import StoredVersion

# Pages believed to be in RAM that may turn out not to be, before none is believed until the kernel was asked again.
_MOST_SURPRISES: Final = 32
_READ_AHEADS_AT_ONCE: Final = 4  # that share what may be under way


@dataclass(frozen=True, slots=True)
class _Held:
    """Maps, what is known of their pages, and how rows lie in them. Who gathers holds it: it outlives `close`."""

    layout: RowLayout
    page_maps: tuple[PageMap, ...]

    def pages_of(self, rows: NDArray[np.int64]) -> list[tuple[PageMap, NDArray[np.int64]]]:
        places = self.layout.places(rows)
        return [(page_map, page_map.pages_of(starts)) for page_map, starts in zip(self.page_maps, places, strict=True)]

    def all_in_ram(self) -> bool:
        return all(page_map.all_in_ram for page_map in self.page_maps)


class MappedBackend:
    """A version mapped read-only. Pages come from the disk when first touched, and may be dropped again.

    It is known of each page whether it was read ahead here, or seen in RAM by `refresh_residency`; nothing is known
    where the kernel would not tell (see residency.may_ask_for_residency).
    """

    def __init__(self, stored: StoredVersion, files: VersionFiles, resident_set: ResidentSet) -> None:
        """Map `files`, which are needed no longer then. Raises StorageFailure."""
        self._stored = stored
        self.num_rows = stored.manifest.num_rows
        self.row_bytes = stored.manifest.row_bytes
        self.kind = stored.manifest.backend
        self._resident_set = resident_set
        self._may_ask = files.may_ask_for_residency()
        self._held_now = HeldNow(stored)
        self._surprises = 0
        self._map_to_refresh = 0
        mapped = files.map()
        page_maps = tuple(map(PageMap, mapped.maps, mapped.layout.piece_bytes))
        for page_map in page_maps:
            resident_set.add(page_map)
        self._held: _Held | None = _Held(mapped.layout, page_maps)

    @property
    def resident(self) -> bool:
        """See Backend.resident."""
        held = self._held
        return held is not None and self._is_trusted() and held.all_in_ram()

    @property
    def resident_bytes(self) -> int:
        """See Backend.resident_bytes: of whole pages, among them the edges of what is not rows."""
        held = self._held
        return 0 if held is None else sum(page_map.bytes_in_ram() for page_map in held.page_maps)

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """See Backend.gather. Rows that are not known to be in RAM are read ahead, some at a time."""
        held = self._checked()
        is_right = False
        while not is_right:
            seen = self._held_now.require(rows)
            self._gather(held, rows, out)
            self._check_lengths(held)
            is_right = self._held_now.require_still(rows, seen)

    def gather_from_ram(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> bool:
        """See Backend.gather_from_ram."""
        held = self._checked()
        seen = self._held_now.require(rows)
        if not self._is_trusted():
            return False
        if self._resident_set.has_budget or not held.all_in_ram():
            pages = held.pages_of(rows)
            if not all(page_map.are_in_ram(some) for page_map, some in pages):
                return False
            self._note_used(pages)
        waits = _waits_for_disk()
        held.layout.gather(rows, out)
        self._check_lengths(held)
        self._surprises += _waits_for_disk() - waits
        if not self._held_now.require_still(rows, seen):
            self.gather(rows, out)
        return True

    def blocks(self) -> Iterator[NDArray[np.uint8]]:
        """See Backend.blocks."""
        block_rows = self._stored.manifest.block_rows
        for first in range(0, self.num_rows, block_rows):
            rows = np.arange(first, min(first + block_rows, self.num_rows))
            block = np.empty((len(rows), self.row_bytes), np.uint8)
            self.gather(rows, block)
            yield block

    def refresh_residency(self, deadline: float | None = None) -> bool:
        """See Backend.refresh_residency."""
        held = self._held
        if held is None or not self._may_ask:
            return True
        while self._map_to_refresh < len(held.page_maps):
            if not held.page_maps[self._map_to_refresh].refresh(deadline):
                return False
            self._map_to_refresh += 1
        self._map_to_refresh = self._surprises = 0
        return True

    def close(self) -> None:
        """See Backend.close."""
        self._held = None

    def _gather(self, held: _Held, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        if self._is_trusted() and held.all_in_ram() and not self._resident_set.has_budget:
            held.layout.gather(rows, out)
            return
        pages_a_row = sum(page_map.pages_a_row for page_map in held.page_maps)
        step = max(1, self._resident_set.most_pages_under_way // _READ_AHEADS_AT_ONCE // pages_a_row)
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            were_read = self._read_ahead(held, some)
            held.layout.gather(some, out[start : start + step])
            # Afterwards: where another thread unmapped around its own pages, the gather may have had to map some again.
            if self._resident_set.has_budget:
                for page_map, pages in were_read:
                    page_map.unmap_around(pages)

    def _checked(self) -> _Held:
        """Return what is held, its files as long as they were; raises BackendClosed, TableDamaged."""
        held = self._held
        if held is None:
            raise BackendClosed(self._stored.table, self._stored.version)
        self._check_lengths(held)
        return held

    def _check_lengths(self, held: _Held) -> None:
        """Raise TableDamaged for a file that was cut short: also after a gather, which reads zeros behind a new end."""
        for page_map in held.page_maps:
            self._check_length(page_map.file_map)

    def _check_length(self, file_map: FileMap) -> None:
        expected, found = file_map.file_bytes_needed, file_map.file_bytes()
        if found < expected:
            detail = "the file was cut short while it was served"
            raise self._damaged(file_map, detail, expected, found)

    def _is_trusted(self) -> bool:
        return self._may_ask and self._surprises <= _MOST_SURPRISES

    def _read_ahead(self, held: _Held, rows: NDArray[np.int64]) -> list[tuple[PageMap, NDArray[np.int64]]]:
        """Bring the pages of rows into RAM; returns those that may not have been there."""
        pages, believe = held.pages_of(rows), self._is_trusted()
        self._note_used(pages)
        wanted = [(page_map, page_map.missing(some) if believe else np.unique(some)) for page_map, some in pages]
        try:
            read_ahead(wanted, self._resident_set)
        except PagesUnreadable as error:
            file_map = error.page_map.file_map
            self._check_length(file_map)
            if error.may_pass:
                raise StorageFailure(file_map.path, f"rows cannot be read now: {error.reason}") from error
            raise self._damaged(file_map, f"rows cannot be read from disk: {error.reason}") from error
        return wanted

    def _note_used(self, pages: list[tuple[PageMap, NDArray[np.int64]]]) -> None:
        if self._resident_set.has_budget:
            for page_map, some in pages:
                page_map.note_used(some)

    def _damaged(
        self, file_map: FileMap, detail: str, expected: int | None = None, found: int | None = None
    ) -> TableDamaged:
        stored = self._stored
        return TableDamaged(stored.table, stored.version, file_map.path, detail, expected=expected, found=found)


def _waits_for_disk() -> int:
    """Return how often this thread had to wait for the disk because a page was not in RAM."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_majflt
