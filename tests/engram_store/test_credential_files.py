"""Files of tokens and certificates are taken again when they change, and only if they can be used."""

import pytest
from support.certificates import Certificate, make_authority, make_certificate, replace

from engram_store.credential_files import CredentialFiles, CredentialPaths, CredentialsRefused

SECRET = "a-token-nobody-may-see"


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def authority(tmp_path):
    return make_authority(tmp_path, "authority")


@pytest.fixture
def own(tmp_path, authority):
    return make_certificate(tmp_path, "own", authority)


def pair_files(own: Certificate, **settings):
    return CredentialFiles(CredentialPaths(cert=own.cert, key=own.key), **settings)


def test_what_is_in_the_files_is_given(tmp_path, authority, own):
    (tmp_path / "token").write_text(f" {SECRET}\n")

    found = CredentialFiles(
        CredentialPaths(token=tmp_path / "token", ca=authority.cert, cert=own.cert, key=own.key)
    ).newest()

    assert (found.token, found.ca) == (SECRET, authority.cert.read_bytes())
    assert (found.cert, found.key) == (own.cert.read_bytes(), own.key.read_bytes())


def test_files_that_were_not_replaced_give_the_very_same(own):
    files = pair_files(own)

    assert files.newest() is files.look()


def test_a_replaced_file_is_found_a_second_later_and_not_before(tmp_path):
    clock, token = Clock(), tmp_path / "token"
    token.write_text("first")
    files = CredentialFiles(CredentialPaths(token=token), now=clock)
    files.newest()
    replace(token, b"second")

    said = []
    for clock.seconds in (0.9, 1.1):
        said.append(files.newest().token)

    assert said == ["first", "second"]


def test_a_look_finds_a_replaced_file_at_once(tmp_path):
    token = tmp_path / "token"
    token.write_text("first")
    files = CredentialFiles(CredentialPaths(token=token))
    files.newest()
    replace(token, b"second")

    assert files.look().token == "second"


def test_a_certificate_without_its_key_is_not_taken_until_the_key_has_come(tmp_path, authority, own):
    refused = []
    files = pair_files(own, refused=refused.append)
    first, other = files.newest(), make_certificate(tmp_path, "other", authority)

    replace(own.cert, other.cert.read_bytes())
    assert files.look() is first
    replace(own.key, other.key.read_bytes())
    assert files.look().key == other.key.read_bytes()

    assert (refused, files.num_refused) == ([], 0)


def test_what_cannot_be_used_is_told_of_once_and_what_was_before_stays(own):
    refused, clock, told = [], Clock(), []
    files = pair_files(own, refused=refused.append, now=clock)
    first = files.newest()
    own.key.write_text("no key")

    for clock.seconds in (2.0, 2.9, 3.1, 5.0):
        assert files.look() is first
        told.append(files.num_refused)
    assert told == [0, 0, 1, 1]
    assert files.are_refused
    (said,) = refused
    assert str(own.key) in said
    assert "no certificate and its key" in said


def test_files_that_were_mended_are_refused_no_longer(own):
    clock = Clock()
    files, key = pair_files(own, now=clock), own.key.read_bytes()
    files.newest()
    own.key.write_text("no key")
    for clock.seconds in (2.0, 4.0):
        files.look()
    assert files.are_refused

    replace(own.key, key)
    files.look()

    assert not files.are_refused


def test_the_key_of_another_certificate_is_named(tmp_path, authority, own):
    other = make_certificate(tmp_path, "other", authority)

    with pytest.raises(
        CredentialsRefused, match=f"the key in {other.key} is not that of the certificate in {own.cert}"
    ):
        CredentialFiles(CredentialPaths(cert=own.cert, key=other.key)).newest()


def test_a_key_with_a_password_is_refused_instead_of_asked_for(own):
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(own.key.read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"x" * 8)
    own.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))

    with pytest.raises(CredentialsRefused, match="are no certificate and its key"):
        pair_files(own).newest()


@pytest.mark.parametrize("kind", ["token", "ca", "cert", "key"])
def test_a_file_that_is_not_there_is_named(tmp_path, own, kind):
    missing = tmp_path / "missing"
    paths = {"cert": own.cert, "key": own.key} if kind in ("cert", "key") else {}

    with pytest.raises(CredentialsRefused, match=f"{missing} cannot be read: No such file or directory"):
        CredentialFiles(CredentialPaths(**{**paths, kind: missing})).newest()


@pytest.mark.parametrize("content", ["nothing of the kind", "", "\N{SNOWMAN}"])
def test_what_is_no_certificate_of_an_authority_is_refused(tmp_path, content):
    (tmp_path / "ca").write_text(content)

    with pytest.raises(CredentialsRefused, match="holds no certificates in PEM format"):
        CredentialFiles(CredentialPaths(ca=tmp_path / "ca")).newest()


def test_remarks_between_certificates_may_be_in_any_language(authority):
    authority.cert.write_text(f"# Başkan\n{authority.cert.read_text()}")

    assert CredentialFiles(CredentialPaths(ca=authority.cert)).newest().ca == authority.cert.read_bytes()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it has 0 characters, and 1 to 4096 are possible"),
        (SECRET * 200, "characters, and 1 to 4096 are possible"),
        (f"{SECRET}\n{SECRET}", "it has blanks, line breaks or characters beyond ASCII"),
        (f"{SECRET}\u00e9", "it has blanks, line breaks or characters beyond ASCII"),
    ],
)
def test_what_is_no_token_is_refused_without_being_shown(tmp_path, content, reason):
    (tmp_path / "token").write_text(content)

    with pytest.raises(CredentialsRefused) as caught:
        CredentialFiles(CredentialPaths(token=tmp_path / "token")).newest()

    assert reason in str(caught.value)
    assert SECRET not in str(caught.value)


def test_credentials_show_nothing_of_themselves(tmp_path, own):
    (tmp_path / "token").write_text(SECRET)
    found = CredentialFiles(CredentialPaths(token=tmp_path / "token", cert=own.cert, key=own.key)).newest()

    for text in (repr(found), str(found)):
        assert SECRET not in text
        assert "PRIVATE" not in text
