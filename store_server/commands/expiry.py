"""Whether the certificates that settings name are over: a node starts with them, and nobody wants to talk to it."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from cryptography import x509

from store_server.access.certificate_ends import end_of_shown, end_of_trusted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def expired_certificate(option: str, path: Path | None, now: float) -> Iterator[str]:
    """Say that a certificate that the node shows, or one that signed it, is over; `now` in seconds since 1970."""
    for end in _ended(path, end_of_shown, now):
        yield f"{option} {path}: the certificate expired at {end}, whom it is shown to refuses it; renew it"


def expired_authorities(option: str, path: Path | None, now: float) -> Iterator[str]:
    """Say that all are over by whom others have to be signed; `now` in seconds since 1970."""
    for end in _ended(path, end_of_trusted, now):
        yield f"{option} {path}: all in it expired, the last at {end}; the node refuses whom they signed; renew them"


def _ended(path: Path | None, end_of: Callable[[bytes], float], now: float) -> Iterator[str]:
    """Yield when a file ended, if it did; nothing where it cannot be read, which others name."""
    try:
        end = None if path is None else end_of(path.read_bytes())
    except (OSError, ValueError, x509.InvalidVersion):
        return
    if end is not None and end <= now:
        yield datetime.datetime.fromtimestamp(end, datetime.UTC).isoformat()
