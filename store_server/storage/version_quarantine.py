"""A version that ended the processes which read it is served no longer: `quarantined.json` beside its manifest.

It is a thing of that directory alone. A version of the same name that takes its place has none, and what is dropped
takes it along.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final

from store_server.storage.durable import disk_errors_named, sync_directory, write_new_file
from store_server.storage.errors import StorageFailure, VersionQuarantined, VersionReplaced

if TYPE_CHECKING:
    from pathlib import Path

    from store_server.storage.data_root import DataRoot, PlacedVersion
    from store_server.storage.stored_version import StoredVersion

QUARANTINED: Final = "quarantined.json"
_NEW: Final = f"{QUARANTINED}.new"


def put_in_quarantine(root: DataRoot, found: PlacedVersion, reason: str) -> None:
    """Have a version served by nobody until its quarantine is lifted. For one process at a time.

    Raises TableNotFound and VersionNotFound, VersionReplaced when another took its place meanwhile, RootNotWritable,
    DiskFull and StorageFailure.
    """
    directory = root.version_path(found.table, found.version)
    if root.place(found.table, found.version) != found.place:
        raise VersionReplaced(found.table, found.version)
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    content = json.dumps({"since": since, "reason": reason}).encode() + b"\n"
    with disk_errors_named(directory, bytes_needed=len(content)):
        (directory / _NEW).unlink(missing_ok=True)  # of a process that died as it wrote
        write_new_file(directory / _NEW, content)
        (directory / _NEW).rename(directory / QUARANTINED)
        sync_directory(directory)


def lift_quarantine(stored: StoredVersion) -> bool:
    """Let a version be served again; returns False if nothing forbade it. Raises RootNotWritable, StorageFailure."""
    with disk_errors_named(stored.directory):
        try:
            (stored.directory / QUARANTINED).unlink()
        except FileNotFoundError:
            return False
        sync_directory(stored.directory)
    return True


def require_no_quarantine(table: str, version: str, directory: Path) -> None:
    """Raise VersionQuarantined if the version in `directory` is in quarantine, StorageFailure."""
    path = directory / QUARANTINED
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageFailure(path, error.strerror or str(error)) from error
    raise VersionQuarantined(table, version, path, _told_in(data))


def _told_in(data: bytes) -> str:
    """Return what a quarantined.json says, whoever wrote it: that it is there is what counts."""
    try:
        content = json.loads(data)
        return f"{content['reason']}, since {content['since']}"
    except (ValueError, TypeError, KeyError, RecursionError):
        return "for a reason that cannot be read"
