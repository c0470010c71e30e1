"""The file of credentials as it changes: what it last said counts until it says something else that can be read."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

import structlog

from store_server.access.credentials import MOST_BYTES, Credentials, InvalidCredentials, parse_credentials
from store_server.storage.files.regular_file import fault_of_path

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger()
_TOO_OPEN: Final = stat.S_IWGRP | stat.S_IRWXO  # who may write it lets in whom they like; hashes are nobody's business


class CredentialFile:
    """Reads `path`. `failures` counts looks at it that gave nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failures = 0
        self._content: bytes | None = None
        self._failure = ""
        self._warned_of = 0

    @property
    def is_stale(self) -> bool:
        """Whether the last look at it gave nothing, so that what it said before counts."""
        return bool(self._failure)

    def first(self) -> Credentials:
        """Return what it says now; raises InvalidCredentials, which names the file. Waits for a disk."""
        try:
            content = self._read()
            credentials = parse_credentials(content)
        except OSError as error:
            raise InvalidCredentials(f"{self.path}: {error.strerror or error}") from error
        except InvalidCredentials as error:
            raise InvalidCredentials(f"{self.path}: {error}") from error
        self._content = content
        return credentials

    def changed(self) -> Credentials | None:
        """Return what it says if that is something else than before and can be read. Waits for a disk.

        It is read whole each time: a file of a few lines takes no longer to read than to find out that it need not be,
        and times and sizes of files have been the same for different content.
        """
        try:
            content = self._read()
            if content == self._content:
                self._failure = ""
                return None
            credentials = parse_credentials(content)
        except (OSError, InvalidCredentials) as error:
            self._fail((isinstance(error, OSError) and error.strerror) or str(error))
            return None
        self._content, self._failure = content, ""
        return credentials

    def _read(self) -> bytes:
        if fault := fault_of_path(self.path):
            raise InvalidCredentials(fault)
        with self.path.open("rb") as file:
            self._warn_of(stat.S_IMODE(os.fstat(file.fileno()).st_mode))
            return file.read(MOST_BYTES + 1)

    def _warn_of(self, mode: int) -> None:
        too_open = mode & _TOO_OPEN
        if too_open and too_open != self._warned_of:
            log.warning(
                "the credentials are open to others, chmod 0640 or 0600", file=str(self.path), mode=f"{mode:04o}"
            )
        self._warned_of = too_open

    def _fail(self, reason: str) -> None:
        self.failures += 1
        if reason != self._failure:
            log.error("the credentials cannot be read; what they last said counts", file=str(self.path), error=reason)
        self._failure = reason
