"""All that a node has to know who may do what, put together from its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store_server.access.access import Access, OpenAccess
from store_server.access.allowed_sources import AllowedSources
from store_server.access.audit import Audit, AuditInLog, Event
from store_server.access.audit_file import AuditFile
from store_server.access.certified_access import CertifiedAccess
from store_server.access.credential_file import CredentialFile
from store_server.access.identified_access import IdentifiedAccess
from store_server.access.seen_changes import SeenChanges

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from store_server.access.access_config import AccessConfig
    from store_server.catalog import TableState
    from store_server.tls_config import TlsConfig


class CannotControlAccess(ValueError):
    """A file that says who may do what, or takes down what they did, cannot be used. The message names it."""


class NodeAccess:
    """From `start` to `close`. Raises CannotControlAccess, InvalidCredentials: without these files no node begins."""

    def __init__(self, config: AccessConfig, tls: TlsConfig | None) -> None:
        """`tls` is what callers connect with, None for plain text."""
        self._following: IdentifiedAccess | CertifiedAccess | None = None
        self.sources = AllowedSources.parse(config.allowed_sources)
        self.audit: Audit = AuditInLog() if config.audit_log is None else _audit_file(config.audit_log)
        self._credentials = None if config.tokens is None else CredentialFile(config.tokens)
        self.audit_of_node: Audit = self.audit if config.speaks_for_node else _Nowhere()
        """For what every worker sees, of whom one alone writes it down."""
        self._changes = SeenChanges(self.audit_of_node)
        if self._credentials is not None:
            self._following = IdentifiedAccess(self._credentials, self.audit, audit_of_node=self.audit_of_node)
        elif tls is not None and tls.client_ca_file is not None:
            self._following = CertifiedAccess(self.audit)

    @property
    def callers(self) -> Access:
        """What admits callers."""
        return self._following or OpenAccess()

    @property
    def is_open(self) -> bool:
        """Whether anybody is admitted who may connect."""
        return self._credentials is None

    def reload_failures(self) -> dict[str, float]:
        """Return how often a file could not be read again, by its path."""
        return {} if self._credentials is None else {str(self._credentials.path): self._credentials.failures}

    def stale_files(self) -> dict[str, bool]:
        """Return whether a file says something that cannot be read, by its path."""
        return {} if self._credentials is None else {str(self._credentials.path): self._credentials.is_stale}

    def looked(self, tables: Mapping[str, TableState], epoch: int) -> None:
        """Write down what has become of tables and the shard map since the last look; `epoch` is 0 for no map."""
        self._changes.look({name: state.current for name, state in tables.items()}, epoch)

    def start(self) -> None:
        """Begin to follow what says who may do what."""
        if self._following is not None:
            self._following.start()

    async def close(self) -> None:
        """Follow no more, and write what is left of the audit log."""
        if self._following is not None:
            await self._following.close()
        self.audit.close()


class _Nowhere:
    """Takes down nothing: another worker does."""

    failures = 0

    def record(self, event: Event) -> None:
        """See Audit.record."""

    def close(self) -> None:
        """See Audit.close."""


def _audit_file(path: Path) -> AuditFile:
    try:
        return AuditFile(path)
    except OSError as error:
        raise CannotControlAccess(f"the audit log cannot be written: {path}: {error.strerror or error}") from error
