"""A data root for reading: which tables and versions it has, and how to open them.

ROOT/LOCK                                    held by the one writer (see root_writer)
ROOT/NODE                                    held by the one node of a cluster whose root it is (see node_lock)
ROOT/staging/<random>/                       a version being written
ROOT/tables/<name, '/' as '@'>/CURRENT       the current version's name
ROOT/tables/<...>/versions/<version>/        table.json (the manifest) and the data file; the rows of an
                                             attached checkpoint lie where its manifest says; held.json where only
                                             some blocks are held (see held_blocks); changed.bin where a patch
                                             replaced some (see changed_blocks); quarantined.json where it ended
                                             who read it (see version_quarantine)
ROOT/incoming/                               versions of which no block has come yet (see arrivals)
"""

from __future__ import annotations

import contextlib
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from store_server.storage.errors import (
    InvalidTableSpec,
    RootNotFound,
    StorageError,
    StorageFailure,
    TableDamaged,
    TableNotFound,
    VersionNotFound,
)
from store_server.storage.files.data_file import DATA_FILE_KINDS
from store_server.storage.files.segment_files import check_unchanged
from store_server.storage.files.version_files import open_files
from store_server.storage.manifest import Manifest
from store_server.storage.mapped_backend import MappedBackend
from store_server.storage.memory_backend import MemoryBackend
from store_server.storage.names import directory_of, name_of
from store_server.storage.pages.resident_set import ResidentSet
from store_server.storage.stored_version import StoredVersion
from store_server.storage.version_quarantine import require_no_quarantine

if TYPE_CHECKING:
    import os
    import threading

    from store_server.storage.backend import Backend
    from store_server.storage.row_memory import RowMemory

TABLES, STAGING, LOCK = "tables", "staging", "LOCK"
VERSIONS, CURRENT, MANIFEST = "versions", "CURRENT", "table.json"
_VERSION = re.compile(r"[0-9a-f]{32}")
_MADE_BY = "`create` or `import` makes a data root"


class Place(NamedTuple):
    """What tells a version's directory from others of the same name that come after it.

    The time, that of the manifest, belongs to it: a file system hands the number of a directory that was removed out
    again. Not the directory's own time: blocks of a version may come and go.
    """

    device: int
    inode: int
    changed_ns: int


class PlacedVersion(NamedTuple):
    """A version of a table in one place of a data root. Without a place it stands for what cannot be looked at."""

    table: str
    version: str
    place: Place | None


class DataRoot:
    """Reads a data root. Holds nothing open; every call sees what is there now, also while a writer is at work.

    Any method that takes a table name raises InvalidTableName, and StorageFailure when a file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        """Use `DataRoot.open`, which checks that `path` is a data root."""
        self.path = path

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> DataRoot:
        """Return the data root at `path`; raises RootNotFound, StorageFailure."""
        root = Path(path)
        require_not_within(root)
        if not _is_directory(root):
            raise RootNotFound(root, "not a directory" if root.exists() else f"no such directory; {_MADE_BY}")
        if not _is_directory(root / TABLES):
            raise RootNotFound(root, f"the directory has no {TABLES!r} in it; {_MADE_BY}")
        return cls(root)

    def table_names(self) -> list[str]:
        """Return the names of all tables, sorted. A table is there once a version of it was published.

        One whose files cannot be looked at is there too: what reads it says why it cannot be read.
        """
        names = (name_of(entry) for entry in _entries(self.path / TABLES))
        return sorted(name for name in names if name is not None and self._may_be_published(name))

    def current_version(self, name: str) -> str:
        """Return the version that is current; raises TableNotFound, and TableDamaged when CURRENT is unreadable."""
        path = self.table_path(name) / CURRENT
        version = _read(path, missing=TableNotFound(name, self.path)).decode("ascii", "replace").strip()
        if not _VERSION.fullmatch(version):
            raise TableDamaged(name, version, path, "is not the name of a version", found=repr(version[:80]))
        return version

    def versions(self, name: str) -> list[str]:
        """Return all complete versions of a table, sorted by name; raises TableNotFound."""
        self.current_version(name)
        directory = self.table_path(name) / VERSIONS
        entries = _entries(directory) if _is_directory(directory) else []
        return sorted(entry for entry in entries if _VERSION.fullmatch(entry) and _is_directory(directory / entry))

    def readable_versions(self, name: str) -> list[str]:
        """Return what `versions` does; none of a table that is damaged, or just being dropped: to open it says so."""
        with contextlib.suppress(StorageError):
            return self.versions(name)
        return []

    def place(self, name: str, version: str) -> Place:
        """Return what tells a version from another of the same name that comes after it.

        Raises TableNotFound and VersionNotFound.
        """
        path = self.version_path(name, version)
        try:
            found = path.stat()
            return Place(found.st_dev, found.st_ino, _written_ns(path / MANIFEST))
        except FileNotFoundError as error:
            raise VersionNotFound(name, version, self.current_version(name)) from error
        except OSError as error:
            raise StorageFailure(path, error.strerror or str(error)) from error

    def manifest(self, name: str, version: str) -> Manifest:
        """Return what a version is.

        Raises TableNotFound, VersionNotFound, and TableDamaged when table.json is not what was published.
        """
        path = self.version_path(name, version) / MANIFEST
        data = _read(path, missing=TableDamaged(name, version, path, "is missing"))
        try:
            manifest = Manifest.from_json(data)
        except InvalidTableSpec as error:
            raise TableDamaged(name, version, path, str(error)) from error
        if manifest.version != version:
            raise TableDamaged(
                name,
                version,
                path,
                "was changed: its content has another name",
                expected=version,
                found=manifest.version,
            )
        return manifest

    def open_backend(
        self,
        name: str,
        version: str,
        *,
        in_memory: bool = False,
        memory: RowMemory | None = None,
        huge_pages: bool = False,
        resident_set: ResidentSet | None = None,
        stop: threading.Event | None = None,
    ) -> Backend:
        """Open a version for gathering: mapped as it lies, or with `in_memory` loaded and its digests checked.

        Loaded into `memory`, by default this process's own.
        What is mapped belongs to `resident_set`, by default to one of its own without a budget. Loading ends with
        LoadingStopped once `stop` is set.
        Raises TableNotFound, VersionNotFound, TableDamaged, NotEnoughMemory and PackageMissing, and VersionUnavailable
        when a version that is held in part is to be loaded.
        """
        stored = self.stored_version(name, version)
        with contextlib.closing(open_files(stored)) as files:
            if in_memory:
                return MemoryBackend(stored, files, memory=memory, huge_pages=huge_pages, stop=stop)
            return MappedBackend(stored, files, resident_set or ResidentSet())

    def stored_version(self, name: str, version: str, *, also_quarantined: bool = False) -> StoredVersion:
        """Return a version with its manifest read and its files found unchanged; raises as `check_files` does."""
        return self.check_files(name, self.manifest(name, version), also_quarantined=also_quarantined)

    def check_files(self, name: str, manifest: Manifest, *, also_quarantined: bool = False) -> StoredVersion:
        """Return where a version with this manifest lies; raises TableDamaged when its files were changed.

        One that is in quarantine counts as damaged (VersionQuarantined), except to who asks for those, too.
        """
        directory = self.version_path(name, manifest.version)
        if not also_quarantined:
            require_no_quarantine(name, manifest.version, directory)
        if manifest.is_attached:
            data_path = Path(manifest.segments[0].path)
        else:
            data_path = directory / DATA_FILE_KINDS[manifest.backend].file_name
        stored = StoredVersion(
            table=name, version=manifest.version, directory=directory, data_path=data_path, manifest=manifest
        )
        if manifest.is_attached:
            check_unchanged(stored)
        else:
            stored.check_data_files()
        return stored

    def table_path(self, name: str) -> Path:
        """Return the directory of a table, which need not be there."""
        return self.path / TABLES / directory_of(name)

    def version_path(self, name: str, version: str) -> Path:
        """Return the directory of a version; raises TableNotFound and VersionNotFound."""
        path = self.table_path(name) / VERSIONS / version
        if _VERSION.fullmatch(version) and _is_directory(path):
            return path
        raise VersionNotFound(name, version, self.current_version(name))

    def _may_be_published(self, name: str) -> bool:
        try:
            (self.table_path(name) / CURRENT).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True


def _entries(directory: Path) -> list[str]:
    """Return what is in a directory. One that cannot be listed must not look empty, as it does to glob."""
    try:
        return [entry.name for entry in directory.iterdir()]
    except OSError as error:
        raise StorageFailure(directory, error.strerror or str(error)) from error


def _written_ns(manifest: Path) -> int:
    """Return when a manifest was written, 0 for one that is missing: to open that version says so."""
    try:
        return manifest.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def require_not_within(root: Path) -> None:
    """Raise RootNotFound for a path among the tables of a data root: it is the root that is meant, not one in it."""
    for each in (root.absolute(), *root.absolute().parents):
        if each.name in (TABLES, STAGING) and _is_file(each.parent / LOCK):
            raise RootNotFound(root, f"lies within the data root {each.parent}; name that one")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _is_directory(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StorageFailure(path, error.strerror or str(error)) from error


def _read(path: Path, *, missing: Exception) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise missing from error
    except OSError as error:
        raise StorageFailure(path, error.strerror or str(error)) from error
