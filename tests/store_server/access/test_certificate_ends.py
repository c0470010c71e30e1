"""Until when files of certificates are of use: those that a node shows with who signed them, authorities all."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from store_server.access.certificate_ends import end_of_shown, end_of_trusted

KEY = ec.generate_private_key(ec.SECP256R1())
BEGIN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def day(number):
    return BEGIN + datetime.timedelta(days=number)


def certificate(name, issuer, until):
    subject, signer = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each)]) for each in (name, issuer))
    builder = x509.CertificateBuilder(signer, subject, KEY.public_key(), x509.random_serial_number(), BEGIN, day(until))
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("file", "end"),
    [
        ([certificate("node", "root", 9)], 9),
        ([certificate("node", "middle", 9), certificate("middle", "root", 5)], 5),
        ([certificate("node", "middle", 9), certificate("root", "root", 7), certificate("middle", "root", 8)], 7),
        ([certificate("node", "middle", 9), certificate("middle", "root", 9), certificate("stranger", "x", 1)], 9),
        ([certificate("node", "node", 9), certificate("node", "node", 8)], 8),
    ],
)
def test_what_a_node_shows_ends_with_the_first_on_the_way_from_its_own_to_the_top(file, end):
    assert end_of_shown(b"".join(file)) == day(end).timestamp()


def test_authorities_end_with_the_last_of_them():
    file = [certificate("old", "old", 1), certificate("new", "new", 9), certificate("other", "other", 5)]

    assert end_of_trusted(b"".join(file)) == day(9).timestamp()


@pytest.mark.parametrize("end_of", [end_of_shown, end_of_trusted])
def test_a_file_without_certificates_has_no_end(end_of):
    with pytest.raises(ValueError, match="PEM"):
        end_of(b"nothing")
