"""Removes a version that a node has copied, with its table where it is the last one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store_server.storage import root_writer

if TYPE_CHECKING:
    from engram_store.shard_map import VersionKey
    from store_server.storage import DataRoot


def remove_version(root: DataRoot, key: VersionKey) -> None:
    """Remove a version; another one becomes the current one of its table if it was that.

    Raises RootBusy while another writes to the data root, and what `RootWriter.drop` raises.
    """
    with root_writer(root.path) as writer:
        others = [version for version in root.versions(key.table) if version != key.version]
        if not others:
            writer.drop_table(key.table)
            return
        if root.current_version(key.table) == key.version:
            writer.make_current(key.table, others[0])
        writer.drop(*key)
