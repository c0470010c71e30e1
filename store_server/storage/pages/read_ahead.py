"""Pages brought into RAM together, before rows are gathered from them.

Asked for one by one, as faults or by MADV_POPULATE_READ, pages keep one read of the disk going at a time. MADV_WILLNEED
for all of them starts the reads, as many as the disk's queue holds; MADV_POPULATE_READ then waits for them, maps the
pages, and reports one that cannot be read. Without it (before Linux 5.14) a page that cannot be read is a SIGBUS.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from store_server.storage.pages.advice import POPULATE_READ, WILLNEED, advise, can_populate

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from store_server.storage.pages.page_map import PageMap
    from store_server.storage.pages.resident_set import ResidentSet


_MAY_PASS = frozenset((errno.ENOMEM, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT))
# The kernel's "Bad address" would say nothing to whoever has to replace a disk.
_READ_FAILED: Final = "input/output error; the log of the kernel says which disk and where"


class PagesUnreadable(Exception):
    """The kernel cannot bring pages of `page_map` into RAM; `may_pass` says that they may be sound all the same."""

    def __init__(self, page_map: PageMap, error: OSError) -> None:
        self.page_map = page_map
        self.reason = _READ_FAILED if error.errno == errno.EFAULT else error.strerror or str(error)
        self.may_pass = error.errno in _MAY_PASS
        super().__init__(f"{page_map.file_map.path}: {self.reason}")


def read_ahead(wanted: Sequence[tuple[PageMap, NDArray[np.int64]]], resident_set: ResidentSet) -> None:
    """Bring pages, (n,) in order and each once, of several maps into RAM. Raises PagesUnreadable."""
    wanted = [(page_map, pages) for page_map, pages in wanted if pages.size]
    if not wanted:
        return
    try:
        with resident_set.room_for(sum(pages.size for _, pages in wanted)):
            _bring_in(wanted)
    except TimeoutError as error:
        raise PagesUnreadable(wanted[0][0], error) from error


def _bring_in(wanted: Sequence[tuple[PageMap, NDArray[np.int64]]]) -> None:
    ranges = [page_map.ranges(pages) for page_map, pages in wanted]
    for advice in (WILLNEED, POPULATE_READ) if can_populate() else (WILLNEED,):
        for (page_map, _), some in zip(wanted, ranges, strict=True):
            _advise(page_map, some, advice)
    for page_map, pages in wanted:
        page_map.note_read(pages)


def _advise(page_map: PageMap, ranges: NDArray[np.uint64], advice: int) -> None:
    try:
        advise(ranges, advice)
    except OSError as error:
        raise PagesUnreadable(page_map, error) from error
