"""The file of credentials: what it says, what is wrong with it, and how it changes."""

import os
from itertools import count
from pathlib import Path

import pytest
import structlog
from support.credentials import CredentialsOnDisk

from store_server.access.caller import Scope
from store_server.access.credential_file import CredentialFile
from store_server.access.credentials import InvalidCredentials, parse_credentials
from store_server.access.token import SecretHash, Token

TOKEN = Token.new()
HASH = SecretHash.of(TOKEN.secret).text()
GOOD = f'[[token]]\nid = "{TOKEN.id}"\nhash = "{HASH}"\nname = "a"\nscopes = ["read"]\ntables = ["v41/*"]\n'
CERTIFICATE = '[[certificate]]\nname = "n"\nscopes = ["replicate"]\ntables = ["*"]\n'


def parse(text: str):
    return parse_credentials(text.encode())


def test_an_entry_says_who_may_do_what_and_until_when():
    found = parse(GOOD + "expires = 2027-01-31T00:00:00Z\n" + CERTIFICATE + 'sha256 = "' + "AB:" * 31 + 'AB"\n')

    token, certificate = found.entries()
    assert (token.name, token.id, token.rights.scopes) == ("a", TOKEN.id, (Scope.READ,))
    assert token.hash.is_of(TOKEN.secret)
    assert token.expires == 1801353600
    assert (certificate.name, certificate.sha256, certificate.expires) == ("n", "ab" * 32, None)


def test_an_empty_file_lets_in_nobody():
    assert parse("").entries() == []


def test_a_star_in_a_pattern_crosses_slashes_and_a_pattern_fits_whole_names_only():
    rights = parse(GOOD.replace('"v41/*"', '"v41/*", "t?st"')).entries()[0].rights

    for table in ("v41/layer-1", "v41/a/b", "test"):
        assert rights.on(table) == (Scope.READ,)
    for table in ("v41", "xv41/a", "tests", "toast", "", "V41/a"):
        assert rights.on(table) == ()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("[[token]", "is not TOML"),
        ("[token]\n", r"must be written as \[\[token\]\]"),
        ("[[tokens]]\n", "found 'tokens'"),
        (GOOD.replace("name", "nam"), "found 'nam'"),
        (GOOD.replace('name = "a"\n', ""), "name must be"),
        (GOOD.replace('"a"', "7"), "name must be"),
        (GOOD.replace('["read"]', '["reed"]'), "read, write, admin, replicate, found 'reed'"),
        (GOOD.replace('["read"]', "[]"), "scopes must be a list"),
        (GOOD.replace('["v41/*"]', '"v41/*"'), "tables must be a list"),
        (GOOD.replace('["v41/*"]', '[""]'), "each of tables must be"),
        (GOOD.replace(TOKEN.id, "xyz"), "id must be 12 digits"),
        (GOOD + "expires = 2027-01-31T00:00:00\n", "with its offset"),
        (GOOD + "expires = 1801353600\n", "with its offset"),
        (GOOD + GOOD, f"two \\[\\[token\\]\\] of '{TOKEN.id}'"),
        (CERTIFICATE, "must say which"),
        (CERTIFICATE + 'sha256 = "ab"\n', "64 digits"),
        ("\0", "is not TOML"),
        (f"x = {'9' * 5_000}\n", "is not TOML"),
        ("x = " + "[" * 5_000, "is not TOML"),
    ],
    ids=count(),  # no token, which is another in each process
)
def test_what_is_wrong_is_said_with_its_place(wrong, says):
    with pytest.raises(InvalidCredentials, match=says):
        parse(wrong)


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace(HASH, TOKEN.text()),
        GOOD.replace(TOKEN.id, TOKEN.text(), 1),
        GOOD.replace('["read"]', f'["{TOKEN.text()}"]'),
        f'"{TOKEN.text()}" = 1\n',
        f"[[token]]\n{TOKEN.text()} = 1\n",
        f"[[token]]\n{TOKEN.text()} = 1\n{TOKEN.text()} = 2\n",
        TOKEN.text(),
    ],
    ids=count(),
)
def test_a_token_that_was_pasted_into_the_file_is_not_quoted(text):
    with pytest.raises(InvalidCredentials) as caught:
        parse(text)

    assert TOKEN.secret[:10] not in str(caught.value)


def test_a_file_too_large_is_not_parsed():
    with pytest.raises(InvalidCredentials, match="at most 4,194,304 bytes"):
        parse("#" * (5 << 20))


def test_the_file_is_followed_as_it_changes(tmp_path):
    written = CredentialsOnDisk(tmp_path / "tokens.toml")
    file = CredentialFile(written.path)
    assert file.first().entries() == []
    assert file.changed() is None

    token = written.add("a")
    found = file.changed()

    assert list(found.tokens) == [token.id]
    assert file.changed() is None


@pytest.mark.parametrize("broken", [b"[[token", b"\xff", b"x = " + b"9" * 5_000, None])
def test_a_file_that_cannot_be_read_is_counted_and_said_once_until_it_is_right_again(tmp_path, broken):
    written = CredentialsOnDisk(tmp_path / "tokens.toml")
    file = CredentialFile(written.path)
    file.first()

    with structlog.testing.capture_logs() as logged:
        written.path.unlink()
        if broken is not None:
            written.path.write_bytes(broken)
        assert [file.changed(), file.changed()] == [None, None]
        token = written.add("a")
        assert list(file.changed().tokens) == [token.id]

    assert file.failures == 2
    assert [line["event"] for line in logged if line["log_level"] == "error"] == [
        "the credentials cannot be read; what they last said counts"
    ]


def test_a_node_does_not_begin_with_a_file_that_cannot_be_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    for path, says in ((Path("missing"), "no such file"), (Path("pipe"), "not a regular file")):
        with pytest.raises(InvalidCredentials, match=f"{path}: {says}"):
            CredentialFile(tmp_path / path).first()


@pytest.mark.parametrize(("mode", "warns"), [(0o600, 0), (0o640, 0), (0o400, 0), (0o660, 1), (0o644, 1)])
def test_a_file_that_is_open_to_others_is_warned_of_once(tmp_path, mode, warns):
    written = CredentialsOnDisk(tmp_path / "tokens.toml")
    written.path.chmod(mode)

    with structlog.testing.capture_logs() as logged:
        file = CredentialFile(written.path)
        file.first()
        file.changed()

    assert sum("open to others" in line["event"] for line in logged) == warns
