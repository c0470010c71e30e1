"""Settings of TLS where a node listens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """Files in PEM format, read again when they change."""

    cert_file: Path
    """The node's certificate, with those between it and its authority."""
    key_file: Path
    client_ca_file: Path | None = None
    """Certificates of which one must have signed that of each client; None asks clients for none."""
