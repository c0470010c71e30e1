"""How many bytes of rows a node promises to hold: less where its disk has no room for more, or takes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from store_server.storage import DiskFull, StorageError

log = structlog.get_logger()
_FIRST_PAUSE_SECONDS: Final = 30.0
_LONGEST_PAUSE_SECONDS: Final = 1800.0


class Disk(Protocol):
    """Where a node has its rows. See RootDisk."""

    def bytes_free(self) -> int:
        """Return how many bytes more it has room for."""
        ...

    def write_something(self) -> None:
        """Raise StorageError where nothing can be written."""
        ...


class Room:
    """The promise of a node that states `capacity_bytes`, 0 for as much as others have, and has its rows on `disk`.

    Once rows could not be put there, no more is promised than the node has, so that others are to hold the rest; after
    a while, the longer the oftener that happens, it is seen whether the disk takes something again.
    `failed` is for any thread, the rest for one at a time. `now` is a clock in seconds that never goes back.
    """

    def __init__(self, disk: Disk, capacity_bytes: int, *, now: Callable[[], float] = time.monotonic) -> None:
        self._disk = disk
        self._capacity_bytes = capacity_bytes
        self._now = now
        self._most: int | None = None
        self._failure: StorageError | None = None  # since the last look
        self._shut_by: StorageError | None = None
        self._pause = _FIRST_PAUSE_SECONDS
        self._next_look = self._opened = now()

    def limited(self, capacity_bytes: int) -> int:
        """Return how many bytes of rows the node can hold: as stated, or what its disk has room for if that is less."""
        return capacity_bytes if self._most is None else min(capacity_bytes or self._most, self._most)

    @property
    def failure(self) -> str:
        """Why the disk takes no more rows, "" while it does."""
        return "" if self._shut_by is None else str(self._shut_by)

    def measure(self, held_bytes: int) -> None:
        """Find out whether there is room for as much as is stated, beside the rows that are there. Waits for a disk."""
        room = held_bytes + self._disk.bytes_free()
        self._most = room if room < self._capacity_bytes else None
        if self._most is not None:
            stated = self._capacity_bytes
            log.warning("the disk has less room than stated", stated_bytes=stated, room_bytes=room)

    def failed(self, error: StorageError) -> None:
        """Take note that rows could not be put there; the next look deals with it."""
        self._failure = error

    def look(self, *, held_bytes: int, kept_bytes: int, makes_room: bool) -> bool:
        """Do what follows from failures; tells whether another number of bytes is promised now. Waits for a disk.

        `held_bytes` are the rows that are there, `kept_bytes` those of shards that the node is to hold and has wholly.
        A full disk is no failure while it `makes_room`.
        """
        before, failure, self._failure = self._most, self._failure, None
        if failure is not None and not (makes_room and isinstance(failure, DiskFull)):
            self._shut(failure, max(1, kept_bytes))
        elif self._shut_by is not None and self._now() >= self._next_look:
            self._try(self._shut_by, held_bytes)
        return self._most != before

    def _shut(self, failure: StorageError, most: int) -> None:
        if self._shut_by is None:
            if self._now() - self._opened > _LONGEST_PAUSE_SECONDS:
                self._pause = _FIRST_PAUSE_SECONDS
            log.error("the disk takes no more rows", error=str(failure), room_bytes=most, again=self._pause)
            self._put_off()
        self._most, self._shut_by = most, failure

    def _try(self, shut_by: StorageError, held_bytes: int) -> None:
        try:
            self._disk.write_something()
        except StorageError:
            self._put_off()
            return
        self._shut_by, self._opened = None, self._now()
        self.measure(held_bytes)
        if isinstance(shut_by, DiskFull):  # what is stated, or what others have, was too much
            self._most = held_bytes + self._disk.bytes_free()
        log.info("the disk takes rows again", room_bytes=self._most)

    def _put_off(self) -> None:
        self._next_look = self._now() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
