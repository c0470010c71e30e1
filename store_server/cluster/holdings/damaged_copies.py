"""Copies that cannot be read any more make room, so that they are fetched again."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from store_server.cluster.holdings.removal import remove_version
from store_server.storage import StorageError, TableDamaged, VersionQuarantined, root_writer
from store_server.storage.data_root import MANIFEST
from store_server.storage.held_blocks import HELD, HELD_FORMAT, held_blocks
from store_server.storage.manifest import FORMAT

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from engram_store.shard_map import VersionKey
    from store_server.cluster.holdings.copies import Copies
    from store_server.storage import DataRoot

log = structlog.get_logger()


def mend_copies(
    root: DataRoot, copies: Copies, damaged: Collection[VersionKey], *, current: Collection[VersionKey]
) -> None:
    """Remove copies of the node that were found `damaged`, and say anew what is current where that cannot be read.

    `current` are the versions that are preferred for it. What was not copied by the node is somebody else's to mend.
    What cannot be done now, as while another writes to the data root, is left to the next call.
    """
    for table in sorted({key.table for key in copies}):
        of_table = [key for key in copies if key.table == table]
        with suppress(StorageError):  # of one table; the next look tries it again
            if _has_no_current(root, table):
                _mend_current(root, [*(key for key in current if key in of_table), *of_table])
            for key in of_table:
                if key in damaged and (error := _damage(root, key)) is not None:
                    _remove(root, key, error)


def _has_no_current(root: DataRoot, table: str) -> bool:
    try:
        root.current_version(table)
    except TableDamaged:
        return True
    except StorageError:  # not there, or not readable now
        return False
    return False


def _mend_current(root: DataRoot, keys: Collection[VersionKey]) -> None:
    for key in keys:
        with suppress(TableDamaged), root_writer(root.path) as writer:  # of a version that is not there
            writer.make_current(*key)
            log.warning("it could not be read which version is current", table=key.table, current=key.version)
            return


def _damage(root: DataRoot, key: VersionKey) -> TableDamaged | None:
    """Return what is wrong with the files of a version; None for one that is sound, away, or not readable just now."""
    try:
        held_blocks(root.stored_version(*key))
    except VersionQuarantined:  # a mistake of this program would have all its copies taken away everywhere
        return None
    except TableDamaged as error:
        return error
    except StorageError:
        return None
    return None


def _remove(root: DataRoot, key: VersionKey, error: TableDamaged) -> None:
    with suppress(StorageError):
        if _is_of_later_program(root.version_path(*key)):
            return
        remove_version(root, key)
        log.error("damaged copy removed, to be fetched again", table=key.table, version=key.version, error=str(error))


def _is_of_later_program(directory: Path) -> bool:
    """Tell whether a file is not damaged, only newer than this program: who went back to it may go forth again."""
    for name, known in ((MANIFEST, FORMAT), (HELD, HELD_FORMAT)):
        with suppress(OSError, ValueError, AttributeError, TypeError):
            if json.loads((directory / name).read_bytes()).get("format") > known:
                return True
    return False
