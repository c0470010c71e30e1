"""The lock that makes a process the one writer of a data root, and the directories that a root is made of."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from store_server.storage.data_root import LOCK, STAGING, TABLES, require_not_within
from store_server.storage.durable import disk_errors_named, make_directory
from store_server.storage.errors import RootBusy, RootNotFound, StorageFailure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BLOCK_BYTES = 512  # in which st_blocks counts
_LOOK_SECONDS = 0.2  # far more than who only looks holds the lock
_TRY_SECONDS = 0.01
_STAGING_NAME = re.compile(r"[0-9a-f]{16}")


@contextmanager
def root_lock(root: Path) -> Iterator[None]:
    """Hold a data root for writing, with what dead writers left in `staging` removed.

    One that is not there is made, with its parents, and removed again if the block fails and nothing was published.
    Raises RootBusy, RootNotWritable, and RootNotFound when `root` is not a directory or within another data root.
    """
    require_not_within(root)
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
        entries = [entry for entry in (root / STAGING).iterdir() if _STAGING_NAME.fullmatch(entry.name)]
        found = {entry: _bytes_of(entry) for entry in entries}
        lock = os.open(root / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        # For a moment only, which writers wait for.
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return sum(num_bytes for entry, num_bytes in found.items() if entry.exists())
    except OSError:  # BlockingIOError if somebody writes
        return 0
    finally:
        os.close(lock)


def _bytes_of(entry: Path) -> int:
    files = [path for path in entry.rglob("*") if path.is_file()] if entry.is_dir() else [entry]
    return sum(file.stat().st_blocks * _BLOCK_BYTES for file in files)


def _take(root: Path, lock: int) -> None:
    try:
        is_held = _is_locked_in_time(lock)
        # A writer that failed may have removed the root that it had made, and this file with it.
        is_held = is_held and os.path.samestat(os.fstat(lock), (root / LOCK).stat())
    except FileNotFoundError:
        is_held = False
    except OSError as error:
        raise StorageFailure(root / LOCK, f"cannot be locked: {error.strerror}") from error
    if not is_held:
        pid = os.pread(lock, 32, 0).strip()
        raise RootBusy(root, int(pid) if pid.isdigit() else None)
    with suppress(OSError):  # a full disk must not keep anyone from dropping versions
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _is_locked_in_time(lock: int) -> bool:
    """Lock for writing, as soon as those who only look have let go; False if somebody writes."""
    give_up = time.monotonic() + _LOOK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up:
                return False
            time.sleep(_TRY_SECONDS)
        else:
            return True


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
