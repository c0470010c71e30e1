"""Whether this host has what settings name: files that can be read, addresses that are free."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from engram_store.credential_files import CredentialFiles, CredentialPaths, CredentialsRefused
from store_server.listen_address import CannotListen, ListenAddress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def unreadable(option: str, path: Path | None) -> Iterator[str]:
    """Say why the file of an option cannot be read, if it cannot."""
    if path is None:
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would be waited for
        try:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                yield f"{option} {path}: {os.strerror(errno.EISDIR)}"
        finally:
            os.close(descriptor)
    except OSError as error:
        yield f"{option} {path}: {error.strerror}"


def unusable(paths: CredentialPaths) -> Iterator[str]:
    """Say why a token, certificates or a key cannot be used, if so."""
    try:
        CredentialFiles(paths).newest()
    except CredentialsRefused as error:
        yield str(error)


def not_free(option: str, address: str) -> Iterator[str]:
    """Say why nobody could listen at the address of an option, if so."""
    try:
        ListenAddress.parse(address).require_free()
    except (ValueError, CannotListen) as error:
        yield f"{option}: {error}"
