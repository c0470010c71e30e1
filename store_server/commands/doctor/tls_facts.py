"""What a handshake shows: versions, and the certificate of a node, also of one that is not to be trusted."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import ssl
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509

from store_server.commands.doctor.link import open_connection

if TYPE_CHECKING:
    from store_server.commands.doctor.link import Way

_FRAME_HEADER_BYTES: Final = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """What a client shows and trusts; None where it shows nothing, or trusts whom gRPC trusts."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """What a certificate says."""

    subject: str
    names: tuple[str, ...]
    not_before: float
    """Seconds since 1970, as `not_after`."""
    not_after: float
    problem: str = ""
    """Why it cannot be verified, in OpenSSL's words; "" if it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFacts(CertificateFacts):
    """A handshake that came about, perhaps only because the certificate was not verified."""

    version: str
    cipher: str
    hung_up: str = ""
    """How the node ended the connection right after the handshake; "" if it did not."""


async def shake_hands(way: Way, files: TlsFiles, seconds: float) -> TlsFacts:
    """Return what a handshake shows. Raises OSError (SSLError included) or TimeoutError if there is none."""
    context = _context(files)
    try:
        return await _shown(way, context, seconds)
    except ssl.SSLCertVerificationError as error:
        # Only to see the certificate: nothing is sent over such a connection.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return replace(await _shown(way, context, seconds), problem=error.verify_message)


def certificate_in(pem: bytes, now: float) -> CertificateFacts:
    """Return what the first certificate of a file says; `now` is in seconds since 1970. Raises ValueError."""
    facts = CertificateFacts(**_said_by(x509.load_pem_x509_certificate(pem)))
    if now < facts.not_before:
        return replace(facts, problem="certificate is not yet valid")
    return replace(facts, problem="certificate has expired") if now >= facts.not_after else facts


def _said_by(certificate: x509.Certificate) -> dict[str, Any]:
    return {
        "subject": certificate.subject.rfc4514_string(),
        "names": _names(certificate),
        "not_before": certificate.not_valid_before_utc.timestamp(),
        "not_after": certificate.not_valid_after_utc.timestamp(),
    }


async def _shown(way: Way, context: ssl.SSLContext, seconds: float) -> TlsFacts:
    reader, writer = await open_connection(way.place, way.ip, seconds, context)
    try:
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        certificate = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")
        cipher = tls.cipher()
        facts = TlsFacts(version=tls.version() or "", cipher=cipher[0] if cipher else "", **_said_by(certificate))
        if context.verify_mode is ssl.CERT_NONE:
            return facts
        # A node that wants a certificate says so after the handshake; one that is content begins to speak HTTP/2.
        try:
            async with asyncio.timeout(seconds):
                await reader.readexactly(_FRAME_HEADER_BYTES)
        except (OSError, EOFError, TimeoutError) as error:
            return replace(facts, hung_up=_how(error, seconds))
        return facts
    finally:
        writer.transport.abort()


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    trusted = files.ca or _authorities_of_grpc()
    if trusted is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(trusted)
    if files.cert is not None:
        context.load_cert_chain(files.cert, files.key, password=_no_password)
    return context


def _authorities_of_grpc() -> Path | None:
    if named := os.environ.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"):
        return Path(named)
    found = importlib.util.find_spec("grpc")
    bundled = Path(found.origin).parent / "_cython/_credentials/roots.pem" if found and found.origin else None
    return bundled if bundled is not None and bundled.exists() else None


def _how(error: Exception, seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"it says nothing within {seconds:g} s"
    if isinstance(error, EOFError):
        return "it closes the connection"
    return str(getattr(error, "reason", None) or error)


def _no_password() -> str:
    return ""  # instead of asking at the terminal, for as long as nobody answers


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return (*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress)))
