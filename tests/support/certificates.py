"""Certificates for a day, or for whichever days a test wants."""

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
HOUR = datetime.timedelta(hours=1)


class Certificate(NamedTuple):
    """Files of a certificate and its key."""

    cert: Path
    key: Path

    def replace(self, other: "Certificate") -> None:
        """Put another in its place, as who rotates certificates does: each file at once, one after the other."""
        replace(self.cert, other.cert.read_bytes())
        replace(self.key, other.key.read_bytes())


def replace(file: Path, content: bytes) -> None:
    """Give a file another content, at once."""
    beside = file.with_name(f"{file.name}.new")
    beside.write_bytes(content)
    beside.rename(file)


def make_authority(folder: Path, name: str) -> Certificate:
    """Make one that signs others."""
    return _make(folder, name, x509.BasicConstraints(ca=True, path_length=None))


def make_certificate(
    folder: Path,
    name: str,
    authority: Certificate,
    *,
    hosts: Sequence[str] = ("127.0.0.1",),
    begins: datetime.datetime = NOW - HOUR,
    ends: datetime.datetime = NOW + DAY,
) -> Certificate:
    """Make one for hosts, signed by `authority`."""
    names = x509.SubjectAlternativeName([_name_of(host) for host in hosts])
    return _make(folder, name, names, authority=authority, begins=begins, ends=ends)


def make_expired(folder: Path, name: str, authority: Certificate) -> Certificate:
    """Make one that was valid until an hour ago."""
    return make_certificate(folder, name, authority, begins=NOW - DAY, ends=NOW - HOUR)


def server_credentials(
    own: Certificate, *, clients: Certificate | None = None, must_show: bool = True
) -> grpc.ServerCredentials:
    """Return what a gRPC server needs that shows `own`, and wants one signed by `clients` if that is given."""
    pair = [(own.key.read_bytes(), own.cert.read_bytes())]
    if clients is None:
        return grpc.ssl_server_credentials(pair)
    return grpc.ssl_server_credentials(pair, clients.cert.read_bytes(), require_client_auth=must_show)


def _make(
    folder: Path,
    name: str,
    extension: x509.ExtensionType,
    *,
    authority: Certificate | None = None,
    begins: datetime.datetime = NOW - HOUR,
    ends: datetime.datetime = NOW + DAY,
) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _common_name(name)
    issuer, signer = subject, key
    if authority is not None:
        issuer = x509.load_pem_x509_certificate(authority.cert.read_bytes()).subject
        signer = serialization.load_pem_private_key(authority.key.read_bytes(), None)
    builder = x509.CertificateBuilder(
        issuer,
        subject,
        key.public_key(),
        x509.random_serial_number(),
        begins,
        ends,
        [x509.Extension(extension.oid, True, extension)],
    )
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    made.cert.write_bytes(builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _name_of(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.UniformResourceIdentifier(host) if "://" in host else x509.DNSName(host)
