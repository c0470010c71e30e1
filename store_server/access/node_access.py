"""All that a node has to know who may do what, put together from its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store_server.access.access import Access, OpenAccess
from store_server.access.allowed_sources import AllowedSources
from store_server.access.audit import Audit, AuditInLog
from store_server.access.audit_file import AuditFile
from store_server.access.credential_file import CredentialFile
from store_server.access.identified_access import IdentifiedAccess

if TYPE_CHECKING:
    from pathlib import Path

    from store_server.access.access_config import AccessConfig


class CannotControlAccess(ValueError):
    """A file that says who may do what, or takes down what they did, cannot be used. The message names it."""


class NodeAccess:
    """From `start` to `close`. Raises CannotControlAccess, InvalidCredentials: without these files no node begins."""

    def __init__(self, config: AccessConfig) -> None:
        self._identified: IdentifiedAccess | None = None
        self.sources = AllowedSources.parse(config.allowed_sources)
        self.audit: Audit = AuditInLog() if config.audit_log is None else _audit_file(config.audit_log)
        if config.tokens is not None:
            self._identified = IdentifiedAccess(CredentialFile(config.tokens), self.audit)

    @property
    def callers(self) -> Access:
        """What admits callers."""
        return self._identified or OpenAccess()

    @property
    def is_open(self) -> bool:
        """Whether anybody is admitted."""
        return self._identified is None

    def start(self) -> None:
        """Begin to follow what says who may do what."""
        if self._identified is not None:
            self._identified.start()

    async def close(self) -> None:
        """Follow no more, and write what is left of the audit log."""
        if self._identified is not None:
            await self._identified.close()
        self.audit.close()


def _audit_file(path: Path) -> AuditFile:
    try:
        return AuditFile(path)
    except OSError as error:
        raise CannotControlAccess(f"the audit log cannot be written: {path}: {error.strerror or error}") from error
