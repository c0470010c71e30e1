"""The one writer of a data root: new versions, dropped versions, and the clean-up after a writer that died."""

from __future__ import annotations

import dataclasses
import errno
import secrets
import shutil
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from store_server.storage.checked_blocks import checked_blocks
from store_server.storage.data_root import CURRENT, MANIFEST, STAGING, VERSIONS, DataRoot
from store_server.storage.durable import (
    disk_errors_named,
    exchange,
    make_directory,
    replace_file,
    sync_directory,
    write_new_file,
)
from store_server.storage.errors import (
    StorageError,
    StorageFailure,
    TableDamaged,
    TableExists,
    TableNotFound,
    VersionIsCurrent,
    VersionNotFound,
)
from store_server.storage.held_blocks import is_published_whole
from store_server.storage.names import check_table_name
from store_server.storage.root_lock import root_lock
from store_server.storage.version_writer import VersionWriter

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from store_server.storage.manifest import Manifest, TableSpec


@contextmanager
def root_writer(path: str | os.PathLike[str]) -> Iterator[RootWriter]:
    """Hold the data root at `path` for writing; it is created, with its parents, when it is not there.

    A root that was created is removed again if the block fails and nothing was published. Raises RootBusy when another
    writer holds it, RootNotWritable, RootNotFound when `path` is not a directory.
    """
    root = Path(path)
    with root_lock(root):
        yield RootWriter(DataRoot(root))


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
        with self.staging_directory() as staging:
            writer = None
            try:
                writer = VersionWriter(
                    name, spec, backend, staging, lambda staged, manifest: self._publish(name, staged, manifest)
                )
                yield writer
            finally:
                if writer is not None:
                    writer.discard()

    def attach(self, manifests: Mapping[str, Manifest]) -> set[str]:
        """Publish versions whose rows lie in files that are not ours, by the names of their tables.

        What can fail is done first for all of them; then they become current, one rename after the other. Digests that
        `verify` has found for the same version are kept. Returns the tables that were exactly so before. Raises
        InvalidTableName, DiskFull, RootNotWritable.
        """
        for name in manifests:
            check_table_name(name)
        with ExitStack() as stack, disk_errors_named(self.root.path):
            staged: dict[str, Path] = {}
            for name, manifest in manifests.items():
                if (completed := self._unless_known(name, manifest)) is not None:
                    staged[name] = stack.enter_context(self.staging_directory())
                    _write_manifest(staged[name], completed)
            new_tables: dict[str, Path] = {}
            for name, staging in staged.items():
                if self._is_new(name):
                    new_tables[name] = stack.enter_context(self.staging_directory())
                    _move_into_table(staging, new_tables[name], manifests[name].version)
                else:
                    self._place(name, staging, manifests[name].version)
            for name, table in new_tables.items():
                self._place_table(name, table)
            others = manifests.keys() - new_tables.keys()
            switched = {name for name in others if self._make_current(name, manifests[name].version)}
            return set(others) - switched - staged.keys()

    def place_arrived(self, name: str, version: str, arrived: Path) -> None:
        """Move a version out of `arrived`, the directory of a table that has it as its current one, into the root.

        A table that is new appears with it; one that is there gets one version more and stays at its current one. A
        version that is there already stays as it is. Raises RootNotWritable.
        """
        with disk_errors_named(self.root.path):
            if self._is_new(name):
                self._place_table(name, arrived)
                return
            target = self.root.table_path(name) / VERSIONS / version
            if not target.exists():
                make_directory(target.parent)
                (arrived / VERSIONS / version).rename(target)
                sync_directory(target.parent)

    def publish_patch(self, name: str, staging: Path, manifest: Manifest) -> bool:
        """Move a version of a table that is there out of `staging` into place and make it current.

        One of the same content that was published here stays instead, and is not read: a patch costs what it changes.
        A copy of it, which its node may take away again, does not.
        Returns False if that was current already. Raises RootNotWritable.
        """
        with disk_errors_named(self.root.path):
            is_there = self._has_whole(name, manifest.version)
            if not is_there:
                self._place(name, staging, manifest.version)
            return self._make_current(name, manifest.version) or not is_there

    @contextmanager
    def staging_directory(self) -> Iterator[Path]:
        """Yield a new directory; what of it is left in `staging` after the block is removed. Raises RootNotWritable."""
        path = self._free_staging_path()
        with disk_errors_named(self.root.path):
            path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)  # what stays, the next writer removes

    def record_digests(self, name: str, version: str, block_digests: Sequence[str]) -> None:
        """Keep the digests of an attached version, which was published without them; its name stays the same."""
        self.replace_manifest(
            name, dataclasses.replace(self.root.manifest(name, version), block_digests=tuple(block_digests))
        )

    def replace_manifest(self, name: str, manifest: Manifest) -> None:
        """Say something else of a version that its name does not depend on."""
        with disk_errors_named(self.root.path):
            path = self.root.version_path(name, manifest.version) / MANIFEST
            replace_file(path, manifest.to_json(), temporary=self._free_staging_path())

    def make_current(self, name: str, version: str) -> bool:
        """Switch a table to a version that is in the root; returns False if it was current already.

        Raises TableNotFound, VersionNotFound, RootNotWritable.
        """
        self.root.version_path(name, version)
        with disk_errors_named(self.root.path):
            return self._make_current(name, version)

    def drop(self, name: str, version: str) -> None:
        """Remove a version that is not current; whoever has it open keeps reading it.

        Raises TableNotFound, VersionNotFound, VersionIsCurrent.
        """
        try:
            if self.root.current_version(name) == version:
                raise VersionIsCurrent(name, version)
        except TableNotFound:
            pass  # CURRENT was lost: what is left may go
        self._remove(self.root.version_path(name, version))

    def drop_table(self, name: str) -> None:
        """Remove a table with all its versions, the current one included; whoever has one open keeps reading it.

        Raises InvalidTableName and TableNotFound.
        """
        path = self.root.table_path(name)
        if not path.is_dir():
            raise TableNotFound(name, self.root.path)
        self._remove(path)

    def _remove(self, path: Path) -> None:
        """Take a directory away at once, then remove what is in it."""
        with disk_errors_named(self.root.path):
            removed = self._free_staging_path()
            path.rename(removed)
            try:
                sync_directory(path.parent)
            except OSError:  # a power cut could bring it back: rather have it back now, and the same again later
                with suppress(OSError):
                    removed.rename(path)
                raise
            shutil.rmtree(removed)

    def _publish(self, name: str, staging: Path, manifest: Manifest) -> bool:
        """Move a version into place and make it current; return False if it was, intact, and was left as it is."""
        if self._is_new(name):
            with self.staging_directory() as table:
                _move_into_table(staging, table, manifest.version)
                self._place_table(name, table)
            return True
        is_there = self._has_intact(name, manifest)
        if not is_there:
            self._place(name, staging, manifest.version)
        return self._make_current(name, manifest.version) or not is_there

    def _is_new(self, name: str) -> bool:
        return not self.root.table_path(name).exists()

    def _has_intact(self, name: str, manifest: Manifest) -> bool:
        """Tell whether exactly this version lies in the root; its rows are read, so that a damaged one is replaced."""
        try:
            stored = self.root.stored_version(name, manifest.version)
            if stored.manifest != manifest or not is_published_whole(stored):  # held in another way, or by copying
                return False
            for _ in checked_blocks(stored):
                pass
        except StorageError:
            return False
        return True

    def _has_whole(self, name: str, version: str) -> bool:
        """Tell whether a version was published here whole, and its manifest and file sizes are right still."""
        try:
            return is_published_whole(self.root.stored_version(name, version))
        except StorageError:
            return False

    def _place_table(self, name: str, table: Path) -> None:
        """Move the finished directory of a new table into place: it has its version and CURRENT, or is not there."""
        path = self.root.table_path(name)
        table.rename(path)
        sync_directory(path.parent)

    def _place(self, name: str, staging: Path, version: str) -> None:
        versions = self.root.table_path(name) / VERSIONS
        make_directory(versions)
        _move_into_place(staging, versions / version)
        sync_directory(versions)

    def _make_current(self, name: str, version: str) -> bool:
        """Switch to a version that is in place; return False if it was current already."""
        with suppress(TableNotFound, TableDamaged):
            if self.root.current_version(name) == version:
                return False
        current = self.root.table_path(name) / CURRENT
        replace_file(current, _current(version), temporary=self._free_staging_path())
        return True

    def _unless_known(self, name: str, manifest: Manifest) -> Manifest | None:
        """Return the manifest with the digests that are known, or None when the root has exactly this one already."""
        try:
            known = self.root.manifest(name, manifest.version)
        except (TableNotFound, VersionNotFound, TableDamaged):
            return manifest
        if known.block_rows == manifest.block_rows:
            manifest = dataclasses.replace(manifest, block_digests=known.block_digests)
        return None if manifest == known else manifest

    def _free_staging_path(self) -> Path:
        return self.root.path / STAGING / secrets.token_hex(8)


def _write_manifest(staging: Path, manifest: Manifest) -> None:
    write_new_file(staging / MANIFEST, manifest.to_json())
    sync_directory(staging)


def _current(version: str) -> bytes:
    return f"{version}\n".encode()


def _move_into_table(staging: Path, table: Path, version: str) -> None:
    """Make an empty directory that of a table with one version, which is current."""
    (table / VERSIONS).mkdir()
    staging.rename(table / VERSIONS / version)
    write_new_file(table / CURRENT, _current(version))
    sync_directory(table / VERSIONS)
    sync_directory(table)


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
