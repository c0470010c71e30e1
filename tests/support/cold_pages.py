"""Tables whose pages the page cache was made to forget."""

import contextlib
import os
from pathlib import Path

from store_server.storage import DataRoot
from store_server.storage.files.version_files import open_files
from store_server.storage.pages.residency import Residency, residency_of
from store_server.storage.stored_version import StoredVersion


def forget_pages(root: Path, name: str) -> float:
    """Drop the pages of a table's current version from the page cache; returns which part of them stays.

    What a process has mapped stays, as this one has tables of LMDB that it wrote; and all of a tmpfs.
    """
    stored = _stored(root, name)
    for path in _paths(stored):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    found = pages_in_cache(root, name)
    return found.resident_bytes / found.mapped_bytes


def pages_in_cache(root: Path, name: str) -> Residency:
    """How much of a table's current version the page cache of this host holds."""
    with contextlib.closing(open_files(_stored(root, name))) as files:
        found = residency_of(files.map().maps)
    assert found is not None
    return found


def bytes_mapped_here(root: Path, name: str) -> int:
    """How much of the files of a table's current version this process has mapped and in RAM."""
    return mapped_bytes_of(_paths(_stored(root, name)))


def mapped_bytes_of(paths: set[Path]) -> int:
    """How much of files this process has mapped and in RAM: their part of its RSS."""
    names, mapped, counts = {str(path.resolve()) for path in paths}, 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, *rest = line.split(maxsplit=5)
        if not first.endswith(":"):  # addresses, rights, offset, device, inode, path
            counts = len(rest) == 5 and rest[4] in names
        elif counts and first == "Rss:":
            mapped += int(rest[0]) << 10
    return mapped


def _paths(stored: StoredVersion) -> set[Path]:
    return {stored.data_path, *(Path(segment.path) for segment in stored.manifest.segments)}


def _stored(root: Path, name: str) -> StoredVersion:
    data_root = DataRoot.open(root)
    return data_root.stored_version(name, data_root.current_version(name))
