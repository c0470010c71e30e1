"""Until when the certificates of a file are of use, of those that a node shows and of those that it trusts."""

from __future__ import annotations

from cryptography import x509


def end_of_shown(pem: bytes) -> float:
    """Return when the first certificate of a file, or one of those in it that signed it, ends: seconds since 1970.

    Others may lie there as well, such as what an authority was before. Raises ValueError, x509.InvalidVersion.
    """
    own, *others = x509.load_pem_x509_certificates(pem)
    path = [own]
    while (signer := next((each for each in others if each.subject == path[-1].issuer), None)) is not None:
        others.remove(signer)
        path.append(signer)
    return min(_end(each) for each in path)


def end_of_trusted(pem: bytes) -> float:
    """Return when the last authority of a file ends: before, one lies beside its heir. Raises as `end_of_shown`."""
    return max(_end(each) for each in x509.load_pem_x509_certificates(pem))


def _end(certificate: x509.Certificate) -> float:
    return certificate.not_valid_after_utc.timestamp()
