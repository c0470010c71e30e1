"""The token and certificates of a store as they are now, for all its connections."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from engram_client.errors import InvalidCredentials
from engram_client.security import Security
from engram_store.credential_files import CredentialFiles, CredentialPaths, Credentials, CredentialsRefused

_log = logging.getLogger(__name__)


class Keyring:
    """Reads the files of a store's Security when they are first wanted, and again once they have changed.

    Files that cannot be used any more are told of in the log, and what was read before stays in use.
    """

    def __init__(self, security: Security | None = None, *, now: Callable[[], float] = time.monotonic) -> None:
        self.security = security or Security()
        paths = CredentialPaths(
            token=self.security.token_file,
            ca=self.security.ca_file,
            cert=self.security.cert_file,
            key=self.security.key_file,
        )
        self._files = CredentialFiles(paths, token=self.security.token, refused=_tell, now=now)

    def newest(self) -> Credentials:
        """Return what a connection should be made with; raises InvalidCredentials."""
        try:
            return self._files.newest()
        except CredentialsRefused as error:
            raise InvalidCredentials(str(error)) from error

    def has_newer_than(self, used: Credentials) -> bool:
        """Tell, after a look at the files, whether a node that refused these might take others."""
        return self._files.look() is not used


def _tell(reason: str) -> None:
    _log.warning("%s; what was read before stays in use", reason)
