"""What a server shows over TLS, and whom it trusts: as it is in files now, which may be replaced while it runs."""

from __future__ import annotations

import datetime
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import grpc
import structlog
from cryptography import x509

from engram_store.credential_files import CredentialFiles, CredentialPaths, Credentials, CredentialsRefused
from store_server.access.audit import AuditInLog, Event
from store_server.access.certificate_ends import end_of_shown, end_of_trusted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from store_server.access.audit import Audit
    from store_server.tls_config import TlsConfig

log = structlog.get_logger()


class ServerCredentials:
    """For gRPC, which asks at every connection that begins. Those that are open go on as they began.

    Files that cannot be used, such as a certificate whose key is still to come, or that has expired already, are not
    taken: what was before them is served on. `audit` has both. Raises CredentialsRefused if they cannot be used now.
    """

    def __init__(
        self,
        tls: TlsConfig,
        *,
        audit: Audit | None = None,
        now: Callable[[], float] = time.monotonic,
        today: Callable[[], float] = time.time,
    ) -> None:
        """`now` is for pauses, `today` in seconds since 1970."""
        self._tls = tls
        self._audit = audit or AuditInLog()
        self._today = today
        paths = CredentialPaths(ca=tls.client_ca_file, cert=tls.cert_file, key=tls.key_file)
        self._files = CredentialFiles(paths, refused=self._tell_refused, check_next=self._check_next, now=now)
        self._shown = self._told = self._files.newest()
        self._asking = threading.Lock()

    @property
    def num_refused(self) -> int:
        """How often the files were changed to something that cannot be used."""
        return self._files.num_refused

    def reload_failures(self) -> dict[str, float]:
        """Return how often the files were changed to something that cannot be used, by that of the certificate."""
        return {str(self._tls.cert_file): self.num_refused}

    def stale_files(self) -> dict[str, bool]:
        """Return whether the files are such as cannot be used, by that of the certificate."""
        return {str(self._tls.cert_file): self._files.are_refused}

    def look(self) -> None:
        """See whether the files have changed, so that it is said before a client comes."""
        with self._asking:
            self._tell_reread(self._files.newest())

    def ends(self) -> Mapping[Path, float]:
        """Return when what is shown and trusted now is of no use any more, in seconds since 1970, by its file.

        Without a file that TLS can use and nobody else can read.
        """
        found = self._files.newest()
        ends = {}
        for file, pem, end_of in (
            (self._tls.cert_file, found.cert, end_of_shown),
            (self._tls.client_ca_file, found.ca, end_of_trusted),
        ):
            with suppress(ValueError, x509.InvalidVersion):
                if file is not None and pem is not None:
                    ends[file] = end_of(pem)
        return ends

    def for_grpc(self) -> grpc.ServerCredentials:
        """Return them as a server takes them. TLS is of version 1.2 at least: gRPC speaks no other."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._shown),
            self._changed,  # type: ignore[arg-type]  # None is for "as before"
            require_client_authentication=self._tls.client_ca_file is not None,
        )

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what is to be shown from now on, None if that is what was shown before. For any thread of gRPC's."""
        with self._asking:
            newest = self._files.look()  # costs nothing beside a handshake
            self._tell_reread(newest)
            if newest is self._shown:
                return None
            self._shown = newest
        return _configuration(newest)

    def _check_next(self, read: Credentials) -> None:
        if read.cert is None:
            return
        try:
            end = _end_of_own(read.cert)
        except (ValueError, x509.InvalidVersion) as error:
            raise CredentialsRefused(f"the certificate in {self._tls.cert_file} cannot be read: {error}") from error
        if end <= self._today():
            expired = datetime.datetime.fromtimestamp(end, datetime.UTC).isoformat()
            raise CredentialsRefused(f"the certificate in {self._tls.cert_file} has expired already, at {expired}")

    def _tell_reread(self, newest: Credentials) -> None:
        if newest is not self._told:
            self._told = newest
            file = str(self._tls.cert_file)
            log.info("certificate read again", file=file)
            self._audit.record(Event(action="certificate", outcome="reread", details={"file": file}))

    def _tell_refused(self, reason: str) -> None:
        log.error("certificate not read again, the one before is served on", error=reason)
        details = {"file": str(self._tls.cert_file), "reason": reason}
        self._audit.record(Event(action="certificate", outcome="refused", details=details))


def _configuration(credentials: Credentials) -> grpc.ServerCertificateConfiguration:
    pair = credentials.key or b"", credentials.cert or b""
    return grpc.ssl_server_certificate_configuration([pair], credentials.ca)


def _end_of_own(pem: bytes) -> float:
    """Return when the first certificate ends; those behind it are of authorities."""
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
