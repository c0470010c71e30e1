"""Changes to the file of credentials by a command: at once, for whoever reads it meanwhile, and one at a time."""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import re
import secrets
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from store_server.access.credentials import MOST_BYTES, Credentials, InvalidCredentials, parse_credentials
from store_server.storage.durable import sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store_server.access.credentials import TokenEntry

_WAIT_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.05
_NEW_MODE: Final = 0o600
_HEADER: Final = re.compile(r"^[ \t]*\[", re.MULTILINE)


class CannotEdit(Exception):
    """The file stays as it is; the message says why."""


def add_token(path: Path, entry: TokenEntry) -> None:
    """Write a further entry at the end of the file, which is made if it is missing. Raises CannotEdit, OSError."""
    with _locked(path) as path_of_file:
        before = _content(path_of_file)
        _parsed(path, before)
        after = f"{before.rstrip()}\n\n{_entry_text(entry)}" if before.strip() else _entry_text(entry)
        if _parsed(path, after).tokens[entry.id] != entry:
            raise CannotEdit(f"{path}: the entry reads otherwise than it was written")
        _replace(path_of_file, after)


def remove_token(path: Path, id_: str) -> TokenEntry:
    """Take an entry out of the file and return it; comments and other entries stay. Raises CannotEdit, OSError."""
    with _locked(path) as path_of_file:
        before = _content(path_of_file)
        credentials = _parsed(path, before)
        if id_ not in credentials.tokens:
            raise CannotEdit(
                f"{path} has no token with the id {id_}; `engram-store token list` shows those that it has"
            )
        left = {key: entry for key, entry in credentials.tokens.items() if key != id_}
        _replace(path_of_file, _without(path, before, Credentials(left, credentials.certificates)))
        return credentials.tokens[id_]


def _without(path: Path, text: str, wanted: Credentials) -> str:
    """Return a text with that one of its tables left out without which it says what is wanted."""
    starts = [found.start() for found in _HEADER.finditer(text)]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        without = text[:start] + text[end:]
        with suppress(InvalidCredentials):
            if parse_credentials(without.encode()) == wanted:
                return without
    raise CannotEdit(f"{path} is written in a way that this command cannot change: take the entry out by hand")


def _entry_text(entry: TokenEntry) -> str:
    lines = {
        "id": entry.id,
        "name": entry.name,
        "hash": entry.hash.text(),
        "scopes": list(entry.rights.scopes),
        "tables": list(entry.rights.tables),
    }
    # A printable text is written in TOML as in JSON.
    text = "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in lines.items())
    if entry.expires is not None:
        text += f"expires = {datetime.datetime.fromtimestamp(entry.expires, datetime.UTC).isoformat()}\n"
    return f"[[token]]\n{text}"


def _parsed(path: Path, text: str) -> Credentials:
    try:
        return parse_credentials(text.encode())
    except InvalidCredentials as error:
        raise CannotEdit(f"{path}: {error}") from error


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1).decode()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise CannotEdit(f"{path}: is not UTF-8") from error


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """Keep other commands from the directory of a file; yields the file itself where `path` is a link to it."""
    real = path.resolve()
    directory = os.open(real.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(directory, path)
        yield real
    finally:
        os.close(directory)


def _lock(descriptor: int, path: Path) -> None:
    latest = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= latest:
                raise CannotEdit(f"{path}: another command has been changing it for {_WAIT_SECONDS:g} s") from error
            time.sleep(_LOOK_SECONDS)
        else:
            return


def _replace(path: Path, text: str) -> None:
    """Replace the file, which keeps its mode and its owner: a node runs as somebody else than who edits."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _NEW_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            with suppress(FileNotFoundError):
                before = path.stat()
                os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
                if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(descriptor, before.st_uid, before.st_gid)
            file.flush()
            os.fsync(descriptor)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
