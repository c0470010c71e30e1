"""What a handshake and a certificate mean."""

from __future__ import annotations

import datetime
import ssl
from typing import TYPE_CHECKING, Final

from store_server.commands.doctor.finding import fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store_server.commands.doctor.finding import Finding
    from store_server.commands.doctor.tls_facts import CertificateFacts, TlsFacts, TlsFiles

_DAY_SECONDS: Final = 86_400
_SOON_DAYS: Final = 14
_SUSPICIOUS_SECONDS: Final = 300  # a certificate that begins no longer ago may meet a clock that is slow
_GIVE_ITS_AUTHORITY: Final = "give --ca-file the certificate of the authority that signed it"
_CHANGES: Final = {
    "expired": "renew the node's certificate, and its authority's if that has expired; see the clock of this host",
    "not yet valid": "set the clock of this host, or wait: the certificate begins later",
    "Hostname mismatch": "call the node by one of these names, or have a certificate made with the one that is used",
    "IP address mismatch": "call the node by one of these names, or have a certificate made with the one that is used",
    "local issuer": _GIVE_ITS_AUTHORITY,
    "self-signed": _GIVE_ITS_AUTHORITY,
}


def judge_tls(address: str, facts: TlsFacts, files: TlsFiles, now: float) -> Iterator[Finding]:
    """Yield what a handshake and the certificate in it come to; `now` is in seconds since 1970."""
    yield ok("TLS", address, f"{facts.version}, {facts.cipher}")
    yield judge_certificate(address, facts, now, ca_file=files.ca)
    if facts.hung_up:
        shown = f"shows {files.cert}" if files.cert else "shows none"
        change = (
            "show another, signed by the authority that the node's --tls-client-ca names"
            if files.cert
            else "show a certificate: --cert-file and --key-file"
        )
        found = f"the node hangs up on this client, which {shown} ({facts.hung_up})"
        yield fail("own certificate", address, found, change)
    elif files.cert:
        yield ok("own certificate", address, f"the node takes {files.cert}")


def judge_certificate(subject: str, facts: CertificateFacts, now: float, *, ca_file: Path | None = None) -> Finding:
    """Return what a certificate, of an address or in a file, comes to for who trusts those in `ca_file`."""
    left = (facts.not_after - now) / _DAY_SECONDS
    about = f"{facts.subject} for {', '.join(facts.names) or 'no name'}, {_validity(facts, now)}"
    if facts.problem:
        return fail("certificate", subject, f"{facts.problem.rstrip('.')}: {about}", _change(facts.problem, ca_file))
    if left < _SOON_DAYS:
        change = "renew it: a node reads its certificate again when the files change, without a restart"
        return warn("certificate", subject, f"{about}, less than {_SOON_DAYS} days", change)
    if now - facts.not_before < _SUSPICIOUS_SECONDS:
        change = "see the clocks: hosts whose clock is slow find it not yet valid"
        return warn("certificate", subject, f"{about}, and begins only now", change)
    return ok("certificate", subject, about)


def judge_no_tls(address: str, error: Exception, seconds: float) -> Finding:
    """Return why there was no handshake."""
    if isinstance(error, TimeoutError):
        change = "see whether something else than a node listens there"
        return fail("TLS", address, f"no handshake within {seconds:g} s", change)
    if isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        change = "use grpc:// on this host, or give the node --tls-cert and --tls-key"
        return fail("TLS", address, "the node speaks no TLS there", change)
    change = "see the node's log: it must offer TLS 1.2 or above, and HTTP/2"
    return fail("TLS", address, f"no handshake: {getattr(error, 'reason', None) or error}", change)


def _change(problem: str, ca_file: Path | None) -> str:
    for sign, change in _CHANGES.items():
        if sign in problem:
            is_of_another = ca_file is not None and change == _GIVE_ITS_AUTHORITY
            return f"{ca_file} is of another authority: {change}" if is_of_another else change
    return "see which authority signed it, and give --ca-file its certificate"


def _validity(facts: CertificateFacts, now: float) -> str:
    if now < facts.not_before:
        return f"valid from {_date(facts.not_before)} on"
    if now >= facts.not_after:
        return f"valid until {_date(facts.not_after)}"
    return f"{(facts.not_after - now) / _DAY_SECONDS:.1f} days left"


def _date(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
