"""The lock that makes a process the one writer of a data root, and the directories that a root is made of."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from store_server.storage.data_root import LOCK, STAGING, TABLES
from store_server.storage.durable import disk_errors_named, make_directory
from store_server.storage.errors import RootBusy, RootNotFound, StorageFailure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BLOCK_BYTES = 512  # in which st_blocks counts
_STAGING_NAME = re.compile(r"[0-9a-f]{16}")


@contextmanager
def root_lock(root: Path) -> Iterator[None]:
    """Hold a data root for writing, with what dead writers left in `staging` removed.

    One that is not there is made, with its parents, and removed again if the block fails and nothing was published.
    Raises RootBusy, RootNotWritable, and RootNotFound when `root` is not a directory.
    """
    if root.exists() and not root.is_dir():
        raise RootNotFound(root, "not a directory")
    missing = [path for path in (root / TABLES, root, *root.absolute().parents) if not path.exists()]
    with disk_errors_named(root):
        make_directory(root)
        lock = os.open(root / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(root, lock)
        try:
            with disk_errors_named(root):
                make_directory(root / TABLES)
                make_directory(root / STAGING)
                _remove_leftovers(root / STAGING)
            yield
        except BaseException:
            if missing:
                _remove_made(root, missing)
            raise
    finally:
        os.close(lock)  # lets go of the lock


def unfinished_bytes(root: Path) -> int:
    """Return what writers that died have left in a data root, until the next one removes it; 0 while one is at work."""
    try:
        lock = os.open(root / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return sum(_bytes_of(entry) for entry in (root / STAGING).iterdir() if _STAGING_NAME.fullmatch(entry.name))
    except OSError:  # BlockingIOError if somebody writes
        return 0
    finally:
        os.close(lock)


def _bytes_of(entry: Path) -> int:
    files = [path for path in entry.rglob("*") if path.is_file()] if entry.is_dir() else [entry]
    return sum(file.stat().st_blocks * _BLOCK_BYTES for file in files)


def _take(root: Path, lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A writer that failed may have removed the root that it had made, and this file with it.
        is_held = os.path.samestat(os.fstat(lock), (root / LOCK).stat())
    except (BlockingIOError, FileNotFoundError):
        is_held = False
    except OSError as error:
        raise StorageFailure(root / LOCK, f"cannot be locked: {error.strerror}") from error
    if not is_held:
        pid = os.pread(lock, 32, 0).strip()
        raise RootBusy(root, int(pid) if pid.isdigit() else None)
    with suppress(OSError):  # a full disk must not keep anyone from dropping versions
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _remove_leftovers(staging: Path) -> None:
    """Remove what writers that died have left; only names that writers choose, whatever else may lie here."""
    for entry in staging.iterdir():
        if _STAGING_NAME.fullmatch(entry.name):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _remove_made(root: Path, missing: list[Path]) -> None:
    """Remove the directories that were missing before, as long as nothing lies in them."""
    with suppress(OSError):
        (root / STAGING).rmdir()
        (root / TABLES).rmdir()
        (root / LOCK).unlink()
        for path in missing[1:]:
            path.rmdir()
