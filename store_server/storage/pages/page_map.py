"""What is known of the pages of one map: which are in RAM, and which were used lately."""

from __future__ import annotations

import contextlib
import mmap
import threading
import time
from typing import TYPE_CHECKING, Final

import numpy as np

from store_server.storage.pages.advice import DONTNEED, advise
from store_server.storage.pages.mapped_pages import REGION_BYTES, mapped_ranges
from store_server.storage.pages.residency import pages_in_ram

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from store_server.storage.pages.file_map import FileMap

# A byte a page, in memory that the kernel gives only where something is known: 25 MB for 100 GB that are all in RAM.
_UNKNOWN, _IN_RAM, _USED_LATELY = 0, 1, 3
_SLICE_PAGES: Final = 1 << 14  # asked about, and looked through for pages to drop, at once
_PAGE_BITS: Final = mmap.PAGESIZE.bit_length() - 1
# What a fault maps around a page before Linux 6.18, debugging apart; see fault_around_bytes.
_FAULT_AROUND_BYTES: Final = 64 << 10


class PageMap:
    """Knowledge that may be old: the kernel drops pages without a word, and `refresh` finds out by and by.

    Readers take no lock. A page wrongly known costs the reader a wait for the disk, one wrongly unknown a read-ahead.
    """

    def __init__(self, file_map: FileMap, row_bytes: int) -> None:
        """`row_bytes`: how much of each row lies in this map, in one piece."""
        self.file_map = file_map
        self.num_pages = -(-file_map.data.size // mmap.PAGESIZE)
        self.pages_a_row = (row_bytes + mmap.PAGESIZE - 2) // mmap.PAGESIZE + 1  # at the worst place
        self.all_in_ram = False
        self._row_bytes = row_bytes
        self._states = np.zeros(self.num_pages, np.uint8)
        self._in_slice = np.zeros(-(-self.num_pages // _SLICE_PAGES), np.int64)  # pages known to be in RAM
        self._next_to_refresh = 0
        self._changing = threading.Lock()

    def pages_in_ram(self) -> int:
        """Return how many pages are known to be in RAM."""
        return int(self._in_slice.sum())

    def bytes_in_ram(self) -> int:
        """Return how many bytes of the file those pages have."""
        return min(self.pages_in_ram() * mmap.PAGESIZE, self.file_map.data.size)

    def pages_of(self, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the pages of rows that begin at the bytes `starts` (n,): (pages_a_row, n), with repeats."""
        pages = np.empty((self.pages_a_row, len(starts)), np.int64)
        np.right_shift(starts, _PAGE_BITS, out=pages[0])
        last = pages[-1]
        np.right_shift(np.add(starts, self._row_bytes - 1, out=last), _PAGE_BITS, out=last)
        for place in range(1, self.pages_a_row - 1):
            np.minimum(pages[0] + place, last, out=pages[place])
        return pages

    def are_in_ram(self, pages: NDArray[np.int64]) -> bool:
        """Tell whether all pages are known to be in RAM."""
        return self.all_in_ram or bool(self._states.take(pages).all())

    def missing(self, pages: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those pages that are not known to be in RAM, in order, each once."""
        return np.unique(pages[self._states.take(pages) == _UNKNOWN])

    def note_used(self, pages: NDArray[np.int64]) -> None:
        """Remember that those pages which are in RAM were used again, so that others are dropped first."""
        self._states[pages[self._states.take(pages) != _UNKNOWN]] = _USED_LATELY

    def note_read(self, pages: NDArray[np.int64]) -> None:
        """Remember that pages, each given once, were read into RAM."""
        with self._changing:
            new = pages[self._states.take(pages) == _UNKNOWN]
            self._states[new] = _IN_RAM
            self._in_slice += np.bincount(new // _SLICE_PAGES, minlength=len(self._in_slice))
            self._look_whether_all_are_in_ram()

    def ranges(self, pages: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return the memory of pages, in order and each given once: (n, 2) address, bytes; neighbours are one range."""
        cuts = np.flatnonzero(np.diff(pages) != 1) + 1
        firsts, ends = pages[np.r_[0, cuts]], pages[np.r_[cuts - 1, len(pages) - 1]] + 1
        ranges = np.empty((len(firsts), 2), np.uint64)
        ranges[:, 0] = self.file_map.address + firsts * mmap.PAGESIZE
        ranges[:, 1] = (ends - firsts) * mmap.PAGESIZE
        return ranges

    def unmap_around(self, pages: NDArray[np.int64]) -> None:
        """Take out of this process what faults on `pages` have mapped around them and nobody asked for.

        A fault, and so MADV_POPULATE_READ, maps what the page cache holds near the page, whatever MADV_RANDOM says.
        """
        with self._changing:  # what another thread notes as read meanwhile stays
            try:
                around = self._mapped_around(pages)
            except OSError:  # an older kernel, or no descriptor is left
                around = self._near(pages)
            self._unmap(around[self._states.take(around) == _UNKNOWN])

    def refresh(self, deadline: float | None = None) -> bool:
        """Ask the kernel about one slice after another, until `deadline` by time.monotonic or for one whole round.

        Goes on where it stopped the last time; returns whether it came to the end.
        """
        while True:
            self._refresh_slice(self._next_to_refresh)
            self._next_to_refresh += 1
            if self._next_to_refresh >= len(self._in_slice):
                self._next_to_refresh = 0
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False

    def drop_unused(self, first: int, at_most: int) -> int:
        """Drop pages not used lately, from page `first` on and `at_most` of them, and forget the use of others.

        Dropped is from this process and from the page cache. Looks through one slice; returns the page to go on from.
        """
        end = min((first // _SLICE_PAGES + 1) * _SLICE_PAGES, self.num_pages)
        if not self._in_slice[first // _SLICE_PAGES]:
            return end
        with self._changing:
            unused = first + np.flatnonzero(self._states[first:end] == _IN_RAM)[:at_most]
            if unused.size == at_most:
                end = int(unused[-1]) + 1
            states = self._states[first:end]
            states[states == _USED_LATELY] = _IN_RAM
            self._states[unused] = _UNKNOWN
            self._in_slice[first // _SLICE_PAGES] -= unused.size
            self.all_in_ram = self.all_in_ram and not unused.size
            if unused.size:
                self._unmap(first + np.flatnonzero(states == _UNKNOWN))
        if unused.size:
            with contextlib.suppress(OSError):  # what the kernel keeps is found by `refresh`
                # The page cache keeps what is mapped, which is what is in use: one call for the range drops the rest.
                self.file_map.drop_cached(first * mmap.PAGESIZE, (end - first) * mmap.PAGESIZE)
        return end

    def _mapped_around(self, pages: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the pages that this process has mapped in the regions of `pages`, in order."""
        begin, end = self.file_map.address, self.file_map.address + self.num_pages * mmap.PAGESIZE
        regions = np.unique((begin + pages * mmap.PAGESIZE) // REGION_BYTES)[:, None] + np.array([0, 1])
        ranges = mapped_ranges((regions * REGION_BYTES).clip(begin, end).astype(np.uint64)).astype(np.int64)
        firsts, ends = ((ranges - begin) >> _PAGE_BITS).T
        counts = ends - firsts
        return np.repeat(ends - counts.cumsum(), counts) + np.arange(counts.sum())

    def _near(self, pages: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the pages that a fault on one of `pages` may map, in order."""
        window = max(1, _FAULT_AROUND_BYTES // mmap.PAGESIZE)
        shift = (self.file_map.address >> _PAGE_BITS) % window  # windows are aligned by address
        near = (np.unique((pages + shift) // window)[:, None] * window - shift + np.arange(window)).ravel()
        return near[(near >= 0) & (near < self.num_pages)]

    def _unmap(self, pages: NDArray[np.int64]) -> None:
        if pages.size:
            with contextlib.suppress(OSError):  # what the kernel keeps is found by `refresh`
                advise(self.ranges(pages), DONTNEED)

    def _refresh_slice(self, number: int) -> None:
        first = number * _SLICE_PAGES
        in_ram = pages_in_ram(self.file_map.data[first * mmap.PAGESIZE : (first + _SLICE_PAGES) * mmap.PAGESIZE])
        if in_ram is None:
            return
        with self._changing:
            states = self._states[first : first + _SLICE_PAGES]
            # Where nothing changed nothing is written: that would take up memory for what is not known.
            gone, come = np.flatnonzero(~in_ram & (states != _UNKNOWN)), np.flatnonzero(in_ram & (states == _UNKNOWN))
            states[gone], states[come] = _UNKNOWN, _IN_RAM
            self._in_slice[number] = np.count_nonzero(in_ram)
            self._look_whether_all_are_in_ram()

    def _look_whether_all_are_in_ram(self) -> None:
        self.all_in_ram = self.pages_in_ram() == self.num_pages
