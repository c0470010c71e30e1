"""The one writer of a data root: new versions, dropped versions, and the clean-up after a writer that died."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import re
import secrets
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from store_server.storage.data_root import CURRENT, LOCK, MANIFEST, STAGING, TABLES, VERSIONS, DataRoot
from store_server.storage.durable import (
    disk_errors_named,
    exchange,
    make_directory,
    replace_file,
    sync_directory,
    write_new_file,
)
from store_server.storage.errors import (
    RootBusy,
    RootNotFound,
    StorageFailure,
    TableDamaged,
    TableExists,
    TableNotFound,
    VersionIsCurrent,
    VersionNotFound,
)
from store_server.storage.names import check_table_name
from store_server.storage.version_writer import VersionWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from store_server.storage.manifest import Manifest, TableSpec

_STAGING_NAME = re.compile(r"[0-9a-f]{16}")


@contextmanager
def root_writer(path: str | os.PathLike[str]) -> Iterator[RootWriter]:
    """Hold the data root at `path` for writing; it is created, with its parents, when it is not there.

    Raises RootBusy when another writer holds it, RootNotWritable, RootNotFound when `path` is not a directory.
    """
    root = Path(path)
    if root.exists() and not root.is_dir():
        raise RootNotFound(root, "not a directory")
    with disk_errors_named(root):
        make_directory(root)
        lock = os.open(root / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take_lock(root, lock)
        with disk_errors_named(root):
            make_directory(root / TABLES)
            make_directory(root / STAGING)
            _remove_leftovers(root / STAGING)
        yield RootWriter(DataRoot(root))
    finally:
        os.close(lock)  # lets go of the lock


class RootWriter:
    """Changes a data root. Readers see each change at once and whole."""

    def __init__(self, root: DataRoot) -> None:
        """Use `root_writer`, which holds the lock."""
        self.root = root

    def require_new(self, name: str) -> None:
        """Raise TableExists when there is a table of this name, InvalidTableName when there can be none."""
        if check_table_name(name) in self.root.table_names():
            raise TableExists(name, self.root.path)

    @contextmanager
    def new_version(self, name: str, spec: TableSpec, *, backend: str = "mmap") -> Iterator[VersionWriter]:
        """Write a version of a new or an old table; leaving without `publish` leaves nothing behind.

        Raises InvalidTableName, DiskFull, RootNotWritable.
        """
        check_table_name(name)
        with disk_errors_named(self.root.path):
            staging = self._new_staging_directory()
        writer = None
        try:
            writer = VersionWriter(
                name, spec, backend, staging, lambda staged, manifest: self._publish(name, staged, manifest)
            )
            yield writer
        finally:
            if writer is not None:
                writer.discard()
            shutil.rmtree(staging, ignore_errors=True)  # what stays, the next writer removes

    def attach(self, manifests: Mapping[str, Manifest]) -> None:
        """Publish versions whose rows lie in files that are not ours, by the names of their tables.

        What can fail is done first for all of them; then they become current, one rename after the other. Digests that
        `verify` has found for the same version are kept. Raises InvalidTableName, DiskFull, RootNotWritable.
        """
        for name in manifests:
            check_table_name(name)
        staged: dict[str, Path] = {}
        try:
            with disk_errors_named(self.root.path):
                for name, manifest in manifests.items():
                    staging = self._stage_attached(name, manifest)
                    if staging is not None:
                        staged[name] = staging
                for name, staging in staged.items():
                    self._place(name, staging, manifests[name].version)
                for name, manifest in manifests.items():
                    self._make_current(name, manifest.version)
        finally:
            for staging in staged.values():
                shutil.rmtree(staging, ignore_errors=True)  # what stays, the next writer removes

    def record_digests(self, name: str, version: str, block_digests: Sequence[str]) -> None:
        """Keep the digests of an attached version, which was published without them; its name stays the same."""
        manifest = dataclasses.replace(self.root.manifest(name, version), block_digests=tuple(block_digests))
        with disk_errors_named(self.root.path):
            path = self.root.version_path(name, version) / MANIFEST
            replace_file(path, manifest.to_json(), temporary=self._free_staging_path())

    def drop(self, name: str, version: str) -> None:
        """Remove a version that is not current; whoever has it open keeps reading it.

        Raises TableNotFound, VersionNotFound, VersionIsCurrent.
        """
        try:
            if self.root.current_version(name) == version:
                raise VersionIsCurrent(name, version)
        except TableNotFound:
            pass  # a writer died before it made the first version current: that one may go
        path = self.root.version_path(name, version)
        with disk_errors_named(self.root.path):
            removed = self._free_staging_path()
            path.rename(removed)
            sync_directory(path.parent)
            shutil.rmtree(removed)

    def _publish(self, name: str, staging: Path, manifest: Manifest) -> None:
        self._place(name, staging, manifest.version)
        self._make_current(name, manifest.version)

    def _place(self, name: str, staging: Path, version: str) -> None:
        versions = self.root.table_path(name) / VERSIONS
        make_directory(versions)
        _move_into_place(staging, versions / version)
        sync_directory(versions)

    def _make_current(self, name: str, version: str) -> None:
        current = self.root.table_path(name) / CURRENT
        replace_file(current, f"{version}\n".encode(), temporary=self._free_staging_path())

    def _stage_attached(self, name: str, manifest: Manifest) -> Path | None:
        """Return a directory with the manifest, or None when the root has exactly this version already."""
        try:
            known = self.root.manifest(name, manifest.version)
        except (TableNotFound, VersionNotFound, TableDamaged):
            known = None
        if known is not None and known.block_rows == manifest.block_rows:
            manifest = dataclasses.replace(manifest, block_digests=known.block_digests)
        if manifest == known:
            return None
        staging = self._new_staging_directory()
        write_new_file(staging / MANIFEST, manifest.to_json())
        sync_directory(staging)
        return staging

    def _new_staging_directory(self) -> Path:
        path = self._free_staging_path()
        path.mkdir()
        return path

    def _free_staging_path(self) -> Path:
        return self.root.path / STAGING / secrets.token_hex(8)


def _move_into_place(staging: Path, target: Path) -> None:
    """Rename a directory. The same content published again takes the place of the old copy, which may be damaged."""
    try:
        staging.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        try:
            exchange(staging, target)
        except OSError as cause:
            reason = f"this version is there already, and the file system cannot swap directories: {cause.strerror}"
            raise StorageFailure(target, reason) from cause


def _take_lock(root: Path, lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = os.pread(lock, 32, 0).strip()
        raise RootBusy(root, int(pid) if pid.isdigit() else None) from error
    except OSError as error:
        raise StorageFailure(root / LOCK, f"cannot be locked: {error.strerror}") from error
    with suppress(OSError):  # a full disk must not keep anyone from dropping versions
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _remove_leftovers(staging: Path) -> None:
    """Remove what writers that died have left; only names that writers choose, whatever else may lie here."""
    for entry in staging.iterdir():
        if _STAGING_NAME.fullmatch(entry.name):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
