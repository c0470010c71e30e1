"""How much of a node's mapped tables may be in RAM, and how much may be on its way there from disk."""

from __future__ import annotations

import contextlib
import errno
import mmap
import threading
import weakref
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_server.storage.pages.page_map import PageMap

LEAST_BUDGET_BYTES: Final = 16 << 20
_MOST_BYTES_UNDER_WAY: Final = 128 << 20
_LONGEST_WAIT_SECONDS: Final = 10.0  # for others' pages; a disk that takes longer hangs
_LEAST_DROPPED: Final = 256  # pages at a time, if there are so many
_ROUNDS: Final = 2  # of the clock: the first takes away the mark of pages that were used, the second drops them


class ResidentSet:
    """The pages of maps that are added to it. With a budget, those that were not used lately make room for new ones.

    Which pages go is decided by a clock with a second chance, as in page replacement. Counted are the pages that this
    process has mapped, and those that PageMap.refresh found in the page cache, whoever read them; the kernel's page
    tables, 8 bytes for each page that was ever mapped, are not.
    """

    def __init__(self, budget_bytes: int | None = None, *, longest_wait_seconds: float = _LONGEST_WAIT_SECONDS) -> None:
        if budget_bytes is not None and budget_bytes < LEAST_BUDGET_BYTES:
            raise ValueError(f"a memory budget must be at least {LEAST_BUDGET_BYTES:,} bytes, got {budget_bytes:,}")
        under_way = _MOST_BYTES_UNDER_WAY if budget_bytes is None else min(_MOST_BYTES_UNDER_WAY, budget_bytes // 4)
        self.has_budget = budget_bytes is not None
        self.most_pages_under_way = under_way // mmap.PAGESIZE
        self._budget_pages = None if budget_bytes is None else budget_bytes // mmap.PAGESIZE
        self._pages_under_way = 0
        self._longest_wait_seconds = longest_wait_seconds
        self._less_under_way = threading.Condition()
        self._dropping = threading.Lock()
        self._maps: list[weakref.ref[PageMap]] = []
        self._hand = (0, 0)  # map, page

    def add(self, page_map: PageMap) -> None:
        """Count a map's pages for as long as it lives."""
        if self.has_budget:
            page_map.file_map.refuse_huge_pages()
        with self._dropping:
            self._maps = [known for known in self._maps if known() is not None]
            self._maps.append(weakref.ref(page_map))

    @contextlib.contextmanager
    def room_for(self, num_pages: int) -> Iterator[None]:
        """Have room for pages to be read, as long as the block lasts; waits while too many others are under way.

        Raises TimeoutError when they stay so.
        """
        with self._less_under_way:
            # What is under way ends with the disk's answers; a request beyond the limit goes when it is the only one.
            if not self._less_under_way.wait_for(lambda: self._has_room_for(num_pages), self._longest_wait_seconds):
                reason = f"the disk does not answer: other pages are awaited for {self._longest_wait_seconds:g} s"
                raise TimeoutError(errno.ETIMEDOUT, reason)
            self._pages_under_way += num_pages
        try:
            self.shrink()
            yield
        finally:
            with self._less_under_way:
                self._pages_under_way -= num_pages
                self._less_under_way.notify_all()

    def pages_in_ram(self) -> int:
        """Return how many pages of all maps are known to be in RAM."""
        return sum(page_map.pages_in_ram() for page_map in self._living())

    def shrink(self) -> None:
        """Drop pages until what is in RAM and what is under way are within the budget."""
        if self._budget_pages is None:
            return
        with self._dropping:
            maps = self._living()
            looked_at, most = 0, _ROUNDS * sum(page_map.num_pages for page_map in maps)
            while looked_at < most:
                excess = self.pages_in_ram() + self._pages_under_way - self._budget_pages
                if excess <= 0:
                    return
                looked_at += self._drop_at_hand(maps, max(excess, _LEAST_DROPPED))

    def _has_room_for(self, num_pages: int) -> bool:
        return self._pages_under_way == 0 or self._pages_under_way + num_pages <= self.most_pages_under_way

    def _drop_at_hand(self, maps: list[PageMap], at_most: int) -> int:
        """Move the hand on, dropping pages; returns by how many pages."""
        map_number, first = self._hand
        page_map = maps[map_number % len(maps)]
        first %= page_map.num_pages
        end = page_map.drop_unused(first, at_most)
        self._hand = (map_number % len(maps), end) if end < page_map.num_pages else ((map_number + 1) % len(maps), 0)
        return end - first

    def _living(self) -> list[PageMap]:
        return [page_map for known in self._maps if (page_map := known()) is not None]
