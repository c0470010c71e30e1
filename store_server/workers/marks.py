"""Marks of what each thread of a worker is reading, in memory that its parent still has when the worker is dead.

A disk that fails under a map is SIGBUS, and nobody can ask the dead which version it was. So each thread has a slot in
a file that both have mapped: its number, and the name of the version that it reads just now. Behind the slots the
worker's faulthandler writes the stack of the thread that the signal came to, which tells whose slot it is.

A mark is written and taken back with each gather, which must cost no more than a fraction of a microsecond: a slot is
filled by one copy of bytes that were put together when the version was opened.
"""

from __future__ import annotations

import contextlib
import faulthandler
import itertools
import json
import mmap
import os
import re
import threading
from typing import TYPE_CHECKING, Final

from store_server.workers.marked_backend import MarkedBackend
from store_server.workers.settings import placed_version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_server.storage import Backend
    from store_server.storage.data_root import PlacedVersion

_SLOTS: Final = 256  # the loop, those that gather, those that open versions: a tenth of it, mostly
_SLOT_BYTES: Final = 512
_NUMBER_BYTES: Final = 8
_NAME_BYTES: Final = _SLOT_BYTES - _NUMBER_BYTES
_LAST_WORDS_AT: Final = _SLOTS * _SLOT_BYTES
_MOST_LAST_WORDS: Final = 1 << 20
_CURRENT_THREAD: Final = re.compile(rb"^Current thread (0x[0-9a-f]+)", re.MULTILINE)


class Marks:
    """The worker's side."""

    def __init__(self, descriptor: int) -> None:
        """Map the file of a Trace, which this process was started with and keeps open for its last words."""
        os.set_inheritable(descriptor, False)
        self._slots = memoryview(mmap.mmap(descriptor, _LAST_WORDS_AT))
        self._next = itertools.count()
        self._own = _OwnSlot(self)
        os.lseek(descriptor, _LAST_WORDS_AT, os.SEEK_SET)
        faulthandler.enable(descriptor)

    @contextlib.contextmanager
    def reading(self, placed: PlacedVersion) -> Iterator[None]:
        """See Suspects.reading. Blocks of one thread do not lie in each other."""
        slot = self._own.slot
        slot[:] = _name(placed)
        try:
            yield
        finally:
            slot[0] = 0

    def watched(self, backend: Backend, placed: PlacedVersion) -> Backend:
        """See Suspects.watched."""
        return MarkedBackend(backend, self._own, _name(placed))

    def new_slot(self) -> memoryview:
        """Return where the calling thread writes names; nowhere that anybody looks once there are too many threads."""
        number = next(self._next)
        if number >= _SLOTS:
            return memoryview(bytearray(_NAME_BYTES))
        slot = self._slots[number * _SLOT_BYTES :][:_SLOT_BYTES]
        slot[:_NUMBER_BYTES] = threading.get_ident().to_bytes(_NUMBER_BYTES, "little")
        return slot[_NUMBER_BYTES:]


class _OwnSlot(threading.local):
    """The slot of whatever thread asks."""

    def __init__(self, marks: Marks) -> None:
        self.slot = marks.new_slot()


class Trace:
    """The parent's side: a file for one worker. Raises OSError."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("engram-store trace", os.MFD_CLOEXEC)
        try:
            os.ftruncate(self.descriptor, _LAST_WORDS_AT)
        except OSError:
            self.close()
            raise

    def culprit(self) -> PlacedVersion | None:
        """Return what the thread was reading that a deadly signal came to; None for nothing, or if it is not known.

        For a worker that is dead. Where no stack was written, the one version that was being read at all is it.
        """
        reading = {number: name for number, name in self._slots() if name is not None}
        found = _CURRENT_THREAD.search(os.pread(self.descriptor, _MOST_LAST_WORDS, _LAST_WORDS_AT))
        if found is not None:
            return reading.get(int(found[1], 16))
        return next(iter(reading.values())) if len(reading) == 1 else None

    def close(self) -> None:
        """Let go of the file."""
        os.close(self.descriptor)

    def _slots(self) -> Iterator[tuple[int, PlacedVersion | None]]:
        """Yield the number of each thread, and what it was reading."""
        content = os.pread(self.descriptor, _LAST_WORDS_AT, 0)
        for start in range(0, _LAST_WORDS_AT, _SLOT_BYTES):
            number = int.from_bytes(content[start:][:_NUMBER_BYTES], "little")
            if number:
                yield number, _named_in(content[start + _NUMBER_BYTES :][:_NAME_BYTES])


def _name(placed: PlacedVersion) -> bytes:
    """Return what a slot holds for a version: JSON, filled up. The longest is some 330 bytes long."""
    return json.dumps(placed).encode().ljust(_NAME_BYTES, b"\0")


def _named_in(name: bytes) -> PlacedVersion | None:
    """Return the version whose name a slot holds; None for a name that was taken back, or half written."""
    try:
        return placed_version(json.loads(name.rstrip(b"\0")))
    except ValueError:
        return None
