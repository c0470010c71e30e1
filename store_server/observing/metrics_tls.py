"""TLS at the port with the metrics, by the certificates of the node."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from store_server.tls_config import TlsConfig

log = structlog.get_logger()


class MetricsTls:
    """Called for each connection, it returns how that is to be secured: by the files as they are now.

    Those that cannot be used are not taken, and what was before them is shown on. Raises OSError if they cannot be used
    at the beginning.
    """

    def __init__(self, tls: TlsConfig) -> None:
        self._tls = tls
        self._last = _context(tls)

    def __call__(self) -> ssl.SSLContext:
        """Return it; reads files, of which a scrape has few."""
        try:
            self._last = _context(self._tls)
        except OSError as error:
            log.error("certificate not read again for metrics, the one before is shown on", error=str(error))
        return self._last


def _context(tls: TlsConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls.cert_file, tls.key_file)
    if tls.client_ca_file is not None:
        context.load_verify_locations(tls.client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
