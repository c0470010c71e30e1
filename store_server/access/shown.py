"""What a caller shows of itself: a bearer token in its metadata, a certificate on its connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from store_server.access.certificate import Certificate, parse_certificate
from store_server.access.token import Token

_HEADER: Final = "authorization"
_SCHEME: Final = "bearer"
_CERTIFICATE: Final = "x509_pem_cert"  # gRPC's name for it; there only if the listener has verified it


@dataclass(frozen=True, slots=True)
class Shown:
    """All that a call shows. `fault` says what is wrong with it, in words without a secret; "" for nothing."""

    token: Token | None = None
    certificate: Certificate | None = None
    fault: str = ""


def shown_by(
    metadata: Iterable[tuple[str, str | bytes]] | None, auth_context: Mapping[str, Iterable[bytes]] | None
) -> Shown:
    """Return what a call shows, by its metadata and what gRPC knows of its connection."""
    certificate = _certificate(auth_context or {})
    headers = [value for key, value in metadata or () if key == _HEADER]
    if not headers:
        return Shown(None, certificate)
    if len(headers) > 1:
        return Shown(None, certificate, "more than one authorization header was shown")
    token = _token(headers[0])
    if token is None:
        return Shown(None, certificate, "the authorization header holds no token of engram-store")
    return Shown(token, certificate)


def _token(header: str | bytes) -> Token | None:
    text = header.decode("latin-1") if isinstance(header, bytes) else header
    scheme, _, value = text.partition(" ")
    return Token.parse(value.strip()) if scheme.lower() == _SCHEME else None


def _certificate(auth_context: Mapping[str, Iterable[bytes]]) -> Certificate | None:
    for pem in auth_context.get(_CERTIFICATE, ()):
        return parse_certificate(pem)
    return None
