"""Reads what is held over and over again, slowly, so that a bad block is found before a lookup needs it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import structlog

from store_server.cluster.blocks.pace import Pace
from store_server.storage import BlockDamaged, StorageError, StorageFailure
from store_server.storage.files.version_files import open_files
from store_server.storage.held_blocks import held_blocks
from store_server.storage.quarantine import quarantine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_server.storage import DataRoot
    from store_server.storage.stored_version import StoredVersion

log = structlog.get_logger()
_NICENESS: Final = 19
_PAUSE_SECONDS: Final = 1.0  # after a round, however little there was to read


class BadBlock(NamedTuple):
    """A block that had another digest than it was published with, or could not be read."""

    table: str
    version: str
    block: int


def taken_out(root: DataRoot, stored: StoredVersion, block: int) -> list[BadBlock]:
    """Quarantine a block if it is bad, wherever it is; returns which were held until now, and says it in the log.

    One that could not be quarantined is held still: whoever reads it next is to try again. Raises StorageError.
    """
    outcome = quarantine(root, stored, block)
    for each in outcome.left:
        log.error("bad block quarantined", table=each.table, version=each.version, block=block)
    for each, error in outcome.failures:
        log.error("bad block held still", table=each.table, version=each.version, block=block, error=str(error))
    return [BadBlock(each.table, each.version, block) for each in outcome.left]


class NotWanted(Exception):
    """Nobody is to hold a block any more, so nobody repairs it."""


class Scrub:
    """Compares all held blocks of all versions in `root` with their digests, at a set rate.

    A bad block is quarantined: it is held no longer, and so not served. `changed` is called at once, for whoever tells
    others what is held; then `repair` is asked to bring it back, and again after each round until it is held. It
    returns once the block is held, raises NotWanted if it need not be, else what it likes, and is called in the scrub's
    thread, as `changed` is.
    A version that has no digests yet is left out.
    """

    def __init__(
        self,
        root: DataRoot,
        bytes_per_second: float,
        *,
        changed: Callable[[], None],
        repair: Callable[[BadBlock], None],
    ) -> None:
        """`bytes_per_second` above 0; a node that is to scrub nothing makes no scrub. Raises ValueError."""
        self.blocks_read = 0
        self.blocks_bad = 0
        self.blocks_repaired = 0
        self.quarantined: set[BadBlock] = set()
        """Bad blocks that are not held again yet."""
        self._root = root
        self._pace = Pace(bytes_per_second)
        self._changed = changed
        self._repair = repair

    def run(self, stop: threading.Event) -> None:
        """Read one round after the other until `stop` is set; for a thread of its own, which gives way to others."""
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        while not stop.is_set():
            try:
                self.read_all(stop)
            except (StorageError, OSError) as error:  # of the data root as a whole, which may come back
                log.warning("cannot scrub", error=str(error))
            stop.wait(_PAUSE_SECONDS)

    def read_all(self, stop: threading.Event) -> None:
        """Read all that is held once, and try what could not be repaired once more. Raises StorageError."""
        for bad in list(self.quarantined):
            self._bring_back(bad)
        for table in self._root.table_names():
            for version in self._root.readable_versions(table):
                if stop.is_set():
                    return
                try:
                    self._read_version(table, version, stop)
                except StorageError as error:  # dropped meanwhile, or damaged in another way, which the catalog says
                    log.warning("cannot scrub a version", table=table, version=version, error=str(error))

    def note_bad(self, stored: StoredVersion, block: int) -> None:
        """Deal with a block that somebody read and found bad, if it is. Waits for `repair`. Raises StorageError."""
        found = taken_out(self._root, stored, block)
        if found:
            self.blocks_bad += len(found)
            self.quarantined.update(found)
            self._changed()
        for bad in found:
            self._bring_back(bad)

    def _read_version(self, table: str, version: str, stop: threading.Event) -> None:
        stored = self._root.stored_version(table, version)
        if not stored.manifest.block_digests:
            return
        with contextlib.closing(open_files(stored)) as files:
            for block in _held_now(stored):
                rows = np.empty((stored.manifest.rows_in_block(block), stored.manifest.row_bytes), np.uint8)
                try:
                    files.read_checked_into(block, rows)
                except (BlockDamaged, StorageFailure):
                    self.note_bad(stored, block)
                self.blocks_read += 1
                if self._pace.wait(rows.nbytes, stop):
                    return

    def _bring_back(self, bad: BadBlock) -> None:
        try:
            self._repair(bad)
        except NotWanted:  # if it is wanted again, it is fetched as any other
            self.quarantined.discard(bad)
            return
        except Exception as error:  # whatever a source does, the other blocks are to be read too
            log.error("bad block not repaired", table=bad.table, version=bad.version, block=bad.block, error=str(error))
            return
        self.quarantined.discard(bad)
        self.blocks_repaired += 1
        log.info("bad block repaired", table=bad.table, version=bad.version, block=bad.block)


def _held_now(stored: StoredVersion) -> Iterator[int]:
    """Yield the blocks that are held when it is their turn."""
    for block in range(stored.manifest.num_blocks):
        if held_blocks(stored)[block]:
            yield block
