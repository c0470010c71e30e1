"""Why a connection did not come about, in the words of who has to mend it: gRPC speaks of its own insides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from engram_client.security import Security

_NOT_CONNECTED: Final = "failed to connect to all addresses"
_CLOSED_AT_ONCE: Final = ("Socket closed", "Connection reset by peer")
_REFUSED_AT_V6: Final = "ipv6:%5B::1%5D:", "Connection refused"  # of several addresses gRPC names the last alone
_WORDS: Final = {
    "unable to get local issuer certificate": "the node's certificate is not signed by {authorities}",
    "self signed certificate": "the node's certificate is not signed by {authorities}",
    "certificate has expired": "the node's certificate, or that of its authority, has expired",
    "certificate is not yet valid": "the node's certificate is not valid yet, or the clock of this host is slow",
    "Hostname Verification Check failed": "the node's certificate is for another name than the one it was called by",
    "is not in peer certificate": "the node's certificate is for another name than the one it was called by",
    "WRONG_VERSION_NUMBER": "the node speaks no TLS there: only grpc:// or another port can reach it",
    "CERTIFICATE_VERIFY_FAILED": "the node's certificate cannot be verified",
    "UNSUPPORTED_PROTOCOL": "the node speaks no TLS of version 1.2 or above",
    "handshake failed": "the node and this client did not agree on TLS",
}


def with_handshake_words(details: str, security: Security) -> str:
    """Return what gRPC says of a call that failed, after what it means if TLS stood in the way."""
    if not details.startswith(_NOT_CONNECTED):
        return details
    words = _words(details, security)
    return details if words is None else f"{words} (gRPC: {details})"


def _words(details: str, security: Security) -> str | None:
    if all(sign in details for sign in _REFUSED_AT_V6):
        return (
            "nobody listens at ::1; where localhost was called, its other address may have failed otherwise: call the "
            "one at which the node listens, such as 127.0.0.1, to be told"
        )
    if any(sign in details for sign in _CLOSED_AT_ONCE):
        return _words_of_who_hangs_up(security)
    for sign, words in _WORDS.items():
        if sign in details:
            return words.format(authorities=security.ca_file or "an authority that gRPC trusts; name yours by ca_file")
    return None


def _words_of_who_hangs_up(security: Security) -> str:
    # A node says why in its own log alone.
    if not security.tls:
        return "the node closes connections in plain text at once, as one does that speaks TLS: try grpcs://"
    if security.cert_file is None:
        return "the node closes connections at once, as one does that wants a certificate: show one by cert_file"
    return (
        f"the node closes connections at once, as one does that does not accept the certificate in {security.cert_file}"
    )
