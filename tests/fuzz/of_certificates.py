"""Certificates: those that callers show, and the files that a node shows its own from while they are replaced."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import random
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fuzz.target import ACCEPTED, REFUSED, TryOne, Wrong
from fuzz.wire_bytes import hostile_bytes
from support.certificates import make_authority, make_certificate

from store_server.access.audit import Event
from store_server.access.certificate import parse_certificate
from store_server.access.server_credentials import ServerCredentials
from store_server.tls_config import TlsConfig

_HOSTS: Final = ("127.0.0.1", "a.example", "spiffe://x/y")
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n"


class _NoAudit:
    """Takes down nothing."""

    failures = 0

    def record(self, event: Event) -> None:
        pass

    def close(self) -> None:
        pass


@contextlib.contextmanager
def certificates_target(directory: Path) -> Iterator[TryOne]:
    """Read certificates that TLS may let pass: the digest is that of the very bytes, or it is nobody's."""
    pem = make_certificate(directory, "caller", make_authority(directory, "ca"), hosts=_HOSTS).cert.read_bytes()
    der = base64.b64decode(pem.removeprefix(_BEGIN).removesuffix(_END))

    def try_one(rng: random.Random) -> str:
        hostile = der
        for _ in range(rng.choice((0, 1, 1, 2))):
            hostile = hostile_bytes(rng, hostile)
        shown = _BEGIN + base64.encodebytes(hostile) + _END
        if is_armour_hostile := rng.random() < 0.1:
            shown = hostile_bytes(rng, shown)
        found = parse_certificate(shown)
        if found is None:
            return REFUSED
        if found.sha256 != hashlib.sha256(hostile).hexdigest() and not is_armour_hostile:
            raise Wrong(f"{hostile.hex()}: read was {found}")
        return ACCEPTED

    yield try_one


@contextlib.contextmanager
def tls_files_target(directory: Path) -> Iterator[TryOne]:
    """Replace the files of a node that runs: it goes on with them if TLS can use them, else with those before."""
    authority = make_authority(directory, "ca")
    own = make_certificate(directory, "node", authority)
    sound = {path: path.read_bytes() for path in (own.cert, own.key, authority.cert)}
    seconds = itertools.count(step=2.0)  # from one look to the next, so that what is doubted is told as well
    tls = TlsConfig(cert_file=own.cert, key_file=own.key, client_ca_file=authority.cert)
    credentials = ServerCredentials(tls, audit=_NoAudit(), now=lambda: next(seconds))

    def try_one(rng: random.Random) -> str:
        path = rng.choice(list(sound))
        path.write_bytes(_hostile_pem(rng, sound[path]))
        refused = credentials.num_refused
        try:
            for _ in range(2):
                credentials.look()
            credentials.ends()
            if credentials.num_refused > refused:
                return REFUSED
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(own.cert, own.key)
            return ACCEPTED
        finally:
            path.write_bytes(sound[path])
            credentials.look()

    yield try_one


def _hostile_pem(rng: random.Random, pem: bytes) -> bytes:
    match rng.randrange(4):
        case 0:
            return pem + rng.choice((pem, b"\n# a remark\n", b"\0", b"\xff", _BEGIN, _BEGIN + _END))
        case 1 if pem.startswith(_BEGIN):
            der = base64.b64decode(pem.removeprefix(_BEGIN).removesuffix(_END))
            return _BEGIN + base64.encodebytes(hostile_bytes(rng, der)) + _END
        case _:
            return hostile_bytes(rng, pem)
