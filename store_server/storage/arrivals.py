"""Versions on their way into a data root: a table, and a version, appears once its first blocks are there.

ROOT/incoming/<version>/ is a data root of its own, with the one version and no block held at first. The version moves
into ROOT/tables by one rename, with all that it has by then, and goes on filling up there.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from store_server.storage.changed_blocks import CHANGED
from store_server.storage.common_blocks import nearest_kin, share_file
from store_server.storage.data_root import CURRENT, MANIFEST, TABLES, VERSIONS, DataRoot
from store_server.storage.durable import disk_errors_named, make_directory, sync_directory, write_new_file
from store_server.storage.errors import InvalidTableSpec, StorageFailure, TableDamaged, TableNotFound, VersionNotFound
from store_server.storage.files.data_file import DATA_FILE_KINDS
from store_server.storage.held_blocks import HELD, held_json
from store_server.storage.names import name_of
from store_server.storage.root_writer import root_writer
from store_server.storage.sparse_file import make_sparse
from store_server.storage.turns import turn_at

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from store_server.storage.manifest import Manifest
    from store_server.storage.root_writer import RootWriter

_INCOMING: Final = "incoming"


def home_of(root: DataRoot, name: str, version: str) -> DataRoot | None:
    """Return the root in which a version lies: `root`, that of its arrival, or None where it is in neither.

    An arrival that somebody died over before it was begun is none. Raises InvalidTableName, StorageFailure.
    """
    with suppress(TableNotFound, VersionNotFound):
        root.version_path(name, version)
        return root
    arrival = _arrival(root, version)
    return arrival if _is_begun(arrival, name, version) else None


def begin_arrival(
    root: DataRoot, name: str, manifest: Manifest, *, make_files: Callable[[Path], Manifest] | None = None
) -> DataRoot:
    """Make room for a version of which no block is there yet; returns the root in which it lies for now.

    It is held as a flat file, whatever holds it elsewhere. One that has most blocks in common with another version that
    is here shares the file of that one, and `BlockWriter.hold_right` finds those blocks in it. Unless `make_files` puts
    other files into a directory, and returns the manifest of how the version is to lie in them. One that was begun
    already goes on.

    Raises InvalidTableName, InvalidTableSpec for a version that cannot be held so, DiskFull, RootNotWritable.
    """
    if manifest.is_attached:
        raise InvalidTableSpec(
            f"version {manifest.version} of table {name!r} lies in files of a checkpoint, which are not copied block "
            "by block: put the checkpoint where this node can read it, and attach it there"
        )
    arrival, incoming = _arrival(root, manifest.version), root.path / _INCOMING
    with disk_errors_named(root.path):
        make_directory(incoming)
        with _turn(incoming):
            if not _is_begun(arrival, name, manifest.version):
                shutil.rmtree(arrival.table_path(name), ignore_errors=True)  # of one who died over it
                _make(arrival, name, manifest.version, make_files or partial(_make_files, root, name, manifest))
    return arrival


def place_arrival(root: DataRoot, name: str, version: str) -> None:
    """Move a version that has blocks now to where it is served; a table that is new has it as its current one.

    One that was published here meanwhile stays, and the arrival goes. Raises RootBusy, RootNotWritable.
    """
    with root_writer(root.path) as writer:
        place_arrival_by(writer, name, version)


def place_arrival_by(writer: RootWriter, name: str, version: str) -> None:
    """Do the same as the writer of the root. Raises RootNotWritable."""
    arrival = _arrival(writer.root, version)
    writer.place_arrived(name, version, arrival.table_path(name))
    shutil.rmtree(arrival.table_path(name), ignore_errors=True)
    _remove_empty(arrival)


def arrivals_of(root: DataRoot, name: str) -> list[tuple[DataRoot, str]]:
    """Return the versions of a table that are on their way, and the root of each. Raises StorageFailure."""
    try:
        versions = sorted(entry.name for entry in (root.path / _INCOMING).iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageFailure(root.path / _INCOMING, error.strerror or str(error)) from error
    arrivals = [(_arrival(root, version), version) for version in versions]
    return [(arrival, version) for arrival, version in arrivals if name in _begun_names(arrival)]


def remove_arrivals(root: DataRoot, *, but: Collection[tuple[str, str]] = ()) -> None:
    """Remove versions whose arrival nobody goes on with: all but those (table, version).

    What is left of an arrival whose beginning or end somebody died over goes too. Raises RootNotWritable,
    StorageFailure.
    """
    incoming = root.path / _INCOMING
    if not incoming.is_dir():
        return
    with disk_errors_named(incoming):
        if not any(incoming.iterdir()):
            return
        with _turn(incoming):
            for version in [entry.name for entry in incoming.iterdir() if entry.is_dir()]:
                arrival = _arrival(root, version)
                for name in _begun_names(arrival):
                    if (name, version) not in but:
                        shutil.rmtree(arrival.table_path(name), ignore_errors=True)
                _remove_empty(arrival)


def _arrival(root: DataRoot, version: str) -> DataRoot:
    return DataRoot(root.path / _INCOMING / version)


@contextmanager
def _turn(incoming: Path) -> Iterator[None]:
    """Keep others from beginning an arrival, or removing one that was only just begun."""
    descriptor = os.open(incoming, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with turn_at(descriptor, incoming):
            yield
    finally:
        os.close(descriptor)


def _begun_names(arrival: DataRoot) -> list[str]:
    """Return the tables of which a directory is there, however much of it was made."""
    try:
        names = [name_of(entry.name) for entry in (arrival.path / TABLES).iterdir()]
    except FileNotFoundError:  # it is only just being made, or removed, or somebody died over that
        return []
    return [name for name in names if name is not None]


def _is_begun(arrival: DataRoot, name: str, version: str) -> bool:
    """Tell whether the manifest, which is written last, is there."""
    try:
        arrival.manifest(name, version)
    except (TableNotFound, VersionNotFound, TableDamaged):
        return False
    return True


def _make(arrival: DataRoot, name: str, version: str, make_files: Callable[[Path], Manifest]) -> None:
    table = arrival.table_path(name)
    directory = table / VERSIONS / version
    make_directory(directory)
    write_new_file(table / CURRENT, f"{version}\n".encode())
    manifest = make_files(directory)
    write_new_file(directory / HELD, held_json(np.zeros(manifest.num_blocks, np.bool_)))
    sync_directory(directory)
    write_new_file(directory / MANIFEST, manifest.to_json())
    for each in (directory, directory.parent, table):
        sync_directory(each)


def _make_files(root: DataRoot, name: str, manifest: Manifest, directory: Path) -> Manifest:
    """Make the files of a version; returns how it lies in them."""
    flat = dataclasses.replace(manifest, backend="mmap", data_bytes=manifest.num_bytes, changed=None)
    data_path = directory / DATA_FILE_KINDS[flat.backend].file_name
    kin = nearest_kin(root, name, flat)
    if kin is None or not share_file(kin, data_path):
        make_sparse(data_path, flat.data_bytes)
        return flat
    if kin.manifest.changed is not None:
        make_sparse(directory / CHANGED, kin.manifest.changed.file_bytes)
    return kin.manifest


def _remove_empty(arrival: DataRoot) -> None:
    for directory in (arrival.path / TABLES, arrival.path):
        with suppress(OSError):  # another table of the same content may be on its way
            directory.rmdir()
