"""Which blocks of an open version are held, looked at again with each lookup: any process may change it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from store_server.storage.errors import RowsNotHeld, StorageFailure
from store_server.storage.held_blocks import HELD, held_content, parse_held

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from store_server.storage.stored_version import StoredVersion

Identity: TypeAlias = tuple[int, int, int]


class HeldNow:
    """Which blocks of an open version are held now, also when another process changes that.

    Each question costs a look at `held.json`: whether it is there, for a version that is whole, and else its time. Only
    a version that is held in part takes a file descriptor.
    """

    def __init__(self, stored: StoredVersion) -> None:
        """Raises TableDamaged when held.json is not what it should be, StorageFailure."""
        self._stored = stored
        self._path = str(stored.directory / HELD)
        self._known: _Known | None = None
        self._now()

    def require(self, rows: NDArray[np.int64]) -> object:
        """Raise RowsNotHeld unless all rows (n,), each inside the table, lie in blocks that are held now.

        What it returns is for `require_still`, after they were copied. Only that one looks at a version that is whole.
        Both raise TableDamaged and StorageFailure, too.
        """
        known = None if self._known is None else self._now()
        self._check(known, rows)
        return known

    def require_still(self, rows: NDArray[np.int64], seen: object) -> bool:
        """Raise RowsNotHeld if a block of `rows` went since `require`: it may be gone from the file by then, or bad.

        Returns False if one may have gone and come back: then the rows have to be copied once more.
        """
        known = self._now()
        if known is seen:
            return True
        self._check(known, rows)
        return isinstance(seen, _Known) and known is not None and seen.removals == known.removals

    def _check(self, known: _Known | None, rows: NDArray[np.int64]) -> None:
        if known is None or known.is_all:
            return
        are_held = known.is_held.take(rows // self._stored.manifest.block_rows)
        if not are_held.all():
            raise RowsNotHeld(self._stored.table, self._stored.version, int(rows[are_held.argmin()]))

    def _now(self) -> _Known | None:
        """Return what held.json says now, None for a version that is whole."""
        known = self._known
        if known is None:
            if not os.access(self._path, os.F_OK):
                return None
            directory = _Directory(self._stored.directory)
        elif known.directory.identity() in (known.identity, None):
            return known  # what was dropped from the data root stays as it was, for those who still read it
        else:
            directory = known.directory
        self._known = known = _read(self._stored, directory)
        return known


@dataclass(frozen=True, slots=True)
class _Known:
    """What held.json said when it was `identity`."""

    directory: _Directory
    identity: Identity
    is_held: NDArray[np.bool_]
    is_all: bool
    removals: int


class _Directory:
    """The directory of a version, held open: another of the same name may take its place, with other blocks."""

    def __init__(self, path: Path) -> None:
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StorageFailure(path, error.strerror or str(error)) from error

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)

    def identity(self) -> Identity | None:
        """Return what tells held.json from the one before it; None where there is none any more."""
        try:
            return _identity(os.stat(HELD, dir_fd=self.descriptor))
        except OSError:
            return None


def _identity(status: os.stat_result) -> Identity:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read(stored: StoredVersion, directory: _Directory) -> _Known:
    try:
        descriptor = os.open(HELD, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory.descriptor)
        with open(descriptor, "rb") as file:  # noqa: PTH123  (a descriptor has no path)
            identity, data = _identity(os.fstat(descriptor)), file.read()
    except OSError as error:
        raise StorageFailure(stored.directory / HELD, error.strerror or str(error)) from error
    is_held = parse_held(stored, data)
    removals = held_content(data, len(is_held)).removals
    return _Known(directory, identity, is_held, bool(is_held.all()), removals)
