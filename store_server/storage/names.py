"""Names of tables: which are allowed, and the directory each one has."""

from __future__ import annotations

import re

from store_server.storage.errors import InvalidTableName

MAX_NAME_CHARACTERS = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_SEPARATOR_ON_DISK = "@"  # not allowed in a name, so that no two names share a directory


def check_table_name(name: str) -> str:
    """Return `name`, or raise InvalidTableName."""
    if len(name) > MAX_NAME_CHARACTERS or not _NAME.fullmatch(name):
        raise InvalidTableName(name)
    return name


def directory_of(name: str) -> str:
    """Return the directory name for a table; raises InvalidTableName."""
    return check_table_name(name).replace("/", _SEPARATOR_ON_DISK)


def name_of(directory: str) -> str | None:
    """Return the table whose directory has this name, None when it belongs to no table."""
    name = directory.replace(_SEPARATOR_ON_DISK, "/")
    return name if len(name) <= MAX_NAME_CHARACTERS and _NAME.fullmatch(name) else None
