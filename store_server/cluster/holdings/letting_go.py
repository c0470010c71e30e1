"""Takes away what a node has copied and is no more to hold, once nobody can be looking for it there."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog

from store_server.cluster.holdings.removal import remove_version
from store_server.storage import RootBusy, StorageError, TableNotFound, VersionNotFound
from store_server.storage.arrivals import remove_arrivals
from store_server.storage.block_writer import BlockWriter
from store_server.storage.durable import bytes_free
from store_server.storage.held_blocks import held_blocks, is_published_whole, ranges_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engram_store.shard_map import VersionKey
    from store_server.cluster.holdings.copies import Copies
    from store_server.storage import DataRoot
    from store_server.storage.stored_version import StoredVersion

log = structlog.get_logger()
_LOOKUP_SECONDS: Final = 10.0  # far more than a lookup needs that saw a block held
_NEVER: Final = np.inf


@dataclass(slots=True)
class _Version:
    """Since when blocks are not wanted, and not held and not wanted any more; infinite for those that are."""

    unwanted: NDArray[np.float64]
    let_go: NDArray[np.float64]
    given_back: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.given_back = np.zeros(len(self.unwanted), np.bool_)


class LettingGo:
    """Called again and again with what is wanted; it does what is due.

    A block that has not been wanted for `keep_seconds` is held no longer, so that the node registers without it; a
    while later its disk space is given back, and a version that is not in the map any more is removed. After a restart
    all of the time begins anew. It is not kept so long while the disk has no room for what is to come. `find` returns
    what lies in the data root, `free_bytes` the room on its disk; `now` is a clock in seconds that never goes back.
    """

    def __init__(
        self,
        root: DataRoot,
        copies: Copies,
        keep_seconds: float,
        *,
        find: Callable[[VersionKey], StoredVersion | None],
        lookup_seconds: float = _LOOKUP_SECONDS,
        now: Callable[[], float] = time.monotonic,
        free_bytes: Callable[[], int] | None = None,
    ) -> None:
        self.makes_room = False
        """Whether there will be room soon that is lacking now."""
        self._root = root
        self._copies = copies
        self._keep_seconds = keep_seconds
        self._find = find
        self._lookup_seconds = lookup_seconds
        self._now = now
        self._free_bytes = free_bytes or partial(bytes_free, root.path)
        self._known: dict[VersionKey, _Version] = {}

    def look(
        self,
        wanted: Mapping[VersionKey, NDArray[np.bool_]],
        under_way: Collection[VersionKey],
        bytes_to_come: int = 0,
    ) -> bool:
        """Do what is due; tells whether the node holds less now.

        `wanted` are blocks of all versions in the map, (num_blocks,) each; versions `under_way` are being copied. Waits
        for a disk. Raises StorageError.
        """
        has_less = self.makes_room = False
        remove_arrivals(self._root, but={*wanted, *under_way})
        lacks_room = bytes_to_come > self._free_bytes()
        for key in self._copies:
            if key not in under_way:
                stored = self._find(key)
                if stored is None:
                    if not _lies_there(self._root, key):
                        self._forget(key, is_wanted=key in wanted)
                elif is_published_whole(stored):
                    self._forget(key, is_wanted=False)  # somebody published it here since: it is theirs
                else:
                    has_less |= self._look_at(key, stored, wanted.get(key), 0.0 if lacks_room else self._keep_seconds)
        self.makes_room &= lacks_room
        return has_less

    def _look_at(
        self, key: VersionKey, stored: StoredVersion, wanted: NDArray[np.bool_] | None, keep_seconds: float
    ) -> bool:
        is_held = held_blocks(stored)
        is_wanted = np.zeros(len(is_held), np.bool_) if wanted is None else wanted
        known, now = self._known.get(key), self._now()
        if known is None:
            known = self._known[key] = _Version(*(np.full(len(is_held), _NEVER) for _ in range(2)))
        known.unwanted = np.where(is_wanted, _NEVER, np.minimum(known.unwanted, now))
        known.let_go = np.where(is_wanted | is_held, _NEVER, np.minimum(known.let_go, now))
        known.given_back &= ~(is_wanted | is_held)
        # Not for ever: what others use, or somebody else's work in the data root keeps, brings no room.
        is_leaving = ~is_wanted & ~known.given_back & ~(now - known.let_go > 2 * self._lookup_seconds)
        self.makes_room |= bool(is_leaving.any())
        due = is_held & (now - known.unwanted >= keep_seconds)
        if due.any():
            with BlockWriter(stored) as writer:
                writer.let_go(ranges_of(due))
            log.info("blocks let go", table=key.table, version=key.version, blocks=int(due.sum()))
            return True
        self._give_back(key, stored, known, is_gone=wanted is None)
        return False

    def _give_back(self, key: VersionKey, stored: StoredVersion, known: _Version, *, is_gone: bool) -> None:
        is_due = self._now() - known.let_go >= self._lookup_seconds
        if is_gone and is_due.all():
            self._remove(key)
            return
        due = is_due & ~known.given_back
        if due.any():
            with BlockWriter(stored) as writer:
                is_done = writer.give_back(ranges_of(due))
            if is_done:  # else again, until the version is gone that has the same file
                known.given_back |= due

    def _remove(self, key: VersionKey) -> None:
        """Remove a version, and its table with the last one. While another writes to the data root, it stays."""
        with suppress(RootBusy):
            remove_version(self._root, key)
            log.info("version removed, which has left the shard map", table=key.table, version=key.version)
            self._forget(key, is_wanted=False)

    def _forget(self, key: VersionKey, *, is_wanted: bool) -> None:
        """Forget a version that is not here, unless it is just about to come."""
        self._known.pop(key, None)
        if not is_wanted:
            self._copies.discard(key)


def _lies_there(root: DataRoot, key: VersionKey) -> bool:
    """Tell whether there is a version, also one that cannot be read."""
    try:
        root.version_path(*key)
    except (TableNotFound, VersionNotFound):
        return False
    except StorageError:
        return True
    return True
