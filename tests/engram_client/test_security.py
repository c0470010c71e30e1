"""What a store shows and whom it trusts is checked before anything is sent, and plain text stays on this host."""

from pathlib import Path

import pytest

import engram_client
from engram_client import errors
from engram_client.security import Security, is_of_this_host, security_of

SECRET = "a-token-nobody-may-see"
NOTHING = dict.fromkeys(("token", "token_file", "ca_file", "cert_file", "key_file"))
ALL = {
    "ENGRAM_TOKEN_FILE": "/e/token",
    "ENGRAM_CA_FILE": "/e/ca",
    "ENGRAM_CERT_FILE": "/e/cert",
    "ENGRAM_KEY_FILE": "/e/key",
    "ENGRAM_INSECURE": "1",
}


def chosen(environment=ALL, *, tls=True, insecure=False, **given):
    return security_of(environment, tls=tls, insecure=insecure, **{**NOTHING, **given})


@pytest.mark.parametrize(
    ("address", "is_here"),
    [
        ("127.0.0.1:1", True),
        ("127.8.9.10:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("LOCALHOST:1", True),
        ("unix:/run/a.sock", True),
        ("unix:///run/a.sock", True),
        ("10.0.0.1:1", False),
        ("[fe80::1%25lo]:1", False),
        ("[2001:db8::7]:1", False),
        ("0.0.0.0:1", False),
        ("127.1:1", False),
        ("localhost.example:1", False),
        ("127.0.0.1.example:1", False),
        ("127.0.0.1:1,10.0.0.1:1", False),
        ("dns:///127.0.0.1:1", False),
        ("node:1", False),
    ],
)
def test_only_what_surely_stays_on_this_host_counts_as_this_host(address, is_here):
    assert is_of_this_host(address) is is_here


@pytest.mark.parametrize("url", ["grpc://10.0.0.1:1", "grpc://node", "grpc://127.0.0.1:1,10.0.0.1:1", "grpc://[::2]"])
def test_plain_text_beyond_this_host_is_refused_with_what_to_do(url):
    with pytest.raises(errors.InsecureUrl, match=r"beyond this host.*use grpcs://, or allow it with insecure=True"):
        engram_client.connect(url)


async def test_plain_text_beyond_this_host_is_spoken_to_who_allows_it():
    await engram_client.connect("grpc://10.0.0.1:1", insecure=True).close()


async def test_the_environment_allows_it_too(monkeypatch):
    monkeypatch.setenv("ENGRAM_INSECURE", "1")

    await engram_client.connect("grpc://10.0.0.1:1").close()


async def test_tls_goes_anywhere():
    await engram_client.connect("grpcs://a.example,10.0.0.1:1").close()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"token": "a", "token_file": "/b"}, "give token or token_file, not both"),
        ({"cert_file": "/a"}, "cert_file and key_file belong together"),
        ({"key_file": "/a"}, "cert_file and key_file belong together"),
        ({"token": ""}, "token cannot be sent: it has 0 characters"),
        ({"token": f"engram_0123456789ab_{SECRET}"}, "one of engram_... has 72 characters, and this one"),
        ({"token": f"{SECRET}\n"}, "token cannot be sent: it has blanks, line breaks or characters beyond ASCII"),
    ],
)
def test_what_contradicts_itself_is_refused_without_a_word_of_the_token(given, says):
    with pytest.raises(ValueError, match=says) as caught:
        engram_client.connect("grpcs://127.0.0.1:1", **given)

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("given", [{"ca_file": "/a"}, {"cert_file": "/a", "key_file": "/b"}])
def test_certificates_for_plain_text_are_refused(given):
    with pytest.raises(ValueError, match="means nothing in plain text: give it with grpcs://HOST:PORT"):
        engram_client.connect("grpc://127.0.0.1:1", **given)


def test_a_token_for_files_of_this_host_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nobody asks for a token or a certificate"):
        engram_client.connect(f"file://{tmp_path}", token="t")


async def test_files_of_this_host_do_not_care_what_is_in_the_environment(tmp_path, monkeypatch):
    for name, value in ALL.items():
        monkeypatch.setenv(name, value)

    await engram_client.connect(f"file://{tmp_path}").close()


def test_what_is_not_given_comes_from_the_environment():
    assert chosen() == Security(
        tls=True,
        token_file=Path("/e/token"),
        ca_file=Path("/e/ca"),
        cert_file=Path("/e/cert"),
        key_file=Path("/e/key"),
        insecure=True,
    )


def test_what_is_given_goes_before_the_environment():
    found = chosen(token="t", ca_file="/a", cert_file="/c", key_file="/k")

    assert (found.token, found.token_file) == ("t", None)
    assert (found.ca_file, found.cert_file, found.key_file) == (Path("/a"), Path("/c"), Path("/k"))


def test_plain_text_takes_of_the_environment_the_token_alone():
    assert chosen(tls=False) == Security(token_file=Path("/e/token"), insecure=True)


def test_an_environment_that_says_neither_yes_nor_no_is_refused():
    with pytest.raises(ValueError, match="ENGRAM_INSECURE must be 1 or 0, got 'perhaps'"):
        chosen({"ENGRAM_INSECURE": "perhaps"})


@pytest.mark.parametrize("no", ["", "0", "false", "No"])
def test_an_environment_that_says_no_allows_nothing(no):
    assert not chosen({"ENGRAM_INSECURE": no}).insecure


def test_no_token_is_shown():
    found = chosen(token=SECRET)

    assert SECRET not in repr(found) + str(found)
