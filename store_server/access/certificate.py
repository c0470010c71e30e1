"""What a client's certificate says: to whom it was given, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from store_server.access.credentials import CertificateEntry

_MOST_REMEMBERED: Final = 1024  # a connection shows the same one at each call


@dataclass(frozen=True, slots=True)
class Certificate:
    """One that TLS has verified when the connection was made."""

    common_names: frozenset[str]
    uris: frozenset[str]
    dns_names: frozenset[str]
    sha256: str
    not_after: float
    """Seconds since 1970."""

    def fits(self, entry: CertificateEntry) -> bool:
        """Tell whether it is the one of an entry: all that the entry names must be so."""
        return (
            (not entry.common_name or entry.common_name in self.common_names)
            and (not entry.uri or entry.uri in self.uris)
            and (not entry.dns or entry.dns in self.dns_names)
            and (not entry.sha256 or entry.sha256 == self.sha256)
        )


@lru_cache(_MOST_REMEMBERED)
def parse_certificate(pem: bytes) -> Certificate | None:
    """Return what a certificate says, None for one that cannot be read: it is nobody's then."""
    try:
        found = x509.load_pem_x509_certificate(pem)
        common_names = frozenset(str(each.value) for each in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME))
        names = _alternative_names(found)
        return Certificate(
            common_names=common_names,
            uris=frozenset(names.get_values_for_type(x509.UniformResourceIdentifier)) if names else frozenset(),
            dns_names=frozenset(names.get_values_for_type(x509.DNSName)) if names else frozenset(),
            sha256=found.fingerprint(SHA256()).hex(),
            not_after=found.not_valid_after_utc.timestamp(),
        )
    except (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return None


def _alternative_names(found: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
