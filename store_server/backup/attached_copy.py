"""An attached version in a backup: what says where its rows lie, in files of a checkpoint that are not ours to copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store_server.storage import TableNotFound, VersionNotFound
from store_server.storage.data_root import CURRENT, MANIFEST, VERSIONS
from store_server.storage.durable import disk_errors_named, sync_directory, write_new_file

if TYPE_CHECKING:
    from store_server.storage import Manifest, RootWriter


def copy_attached(writer: RootWriter, table: str, manifest: Manifest) -> None:
    """Put the manifest of an attached version into a backup; one that is there learns what is known by now.

    That is where its files lie, and the digests that `verify` has found. Raises StorageError.
    """
    try:
        known = writer.root.manifest(table, manifest.version)
    except (TableNotFound, VersionNotFound):
        _place(writer, table, manifest)
        return
    if known != manifest:
        writer.replace_manifest(table, manifest)


def _place(writer: RootWriter, table: str, manifest: Manifest) -> None:
    with writer.staging_directory() as arrived, disk_errors_named(writer.root.path):
        directory = arrived / VERSIONS / manifest.version
        directory.mkdir(parents=True)
        write_new_file(directory / MANIFEST, manifest.to_json())
        write_new_file(arrived / CURRENT, f"{manifest.version}\n".encode())
        for each in (directory, directory.parent, arrived):
            sync_directory(each)
        writer.place_arrived(table, manifest.version, arrived)
