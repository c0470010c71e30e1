"""Commands that speak to nodes show what they are told to show, over TLS or on this host alone, and tell nobody."""

from pathlib import Path

import pytest
from support.certificates import make_authority, make_certificate
from support.credentials import CredentialsOnDisk
from support.processes import node_process
from support.rows import random_rows
from support.tables import write_table

from store_server.commands.connection_options import ConnectionOptions
from store_server.tls_config import TlsConfig

SHORT = ("--duration", "50ms", "--warm-up", "50ms", "--rate", "20/s", "--rows", "4")


@pytest.fixture
def authority(tmp_path):
    return make_authority(tmp_path, "authority")


@pytest.fixture
def own(tmp_path, authority):
    return make_certificate(tmp_path, "own", authority)


def command_lines():
    """The command lines of all processes of this host, as `ps` shows them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.append((process / "cmdline").read_bytes())
        except OSError:  # it has ended
            continue
    return found


def test_a_load_is_put_on_a_node_by_tls_and_a_token_that_nobody_else_sees(tmp_path, authority, own, run):
    write_table(tmp_path / "root", "t", random_rows(100, 16))
    credentials = CredentialsOnDisk(tmp_path / "credentials")
    token = credentials.add("me").text()
    (tmp_path / "token").write_text(token)
    tls = ("--tls-cert", own.cert, "--tls-key", own.key, "--tls-client-ca", authority.cert)
    options = map(str, (*tls, "--tokens", credentials.path, "--workers", 2))
    with node_process(tmp_path / "root", *options) as node:
        shown = ("--ca-file", authority.cert, "--cert-file", own.cert, "--key-file", own.key)
        load = ("load", f"grpcs://{node.address}", *SHORT, *shown)
        outcomes = run(*load, "--token-file", tmp_path / "token"), run(*load)
        seen = command_lines()
        node.stop()

    assert [outcome.status for outcome in outcomes] == [0, 1]
    assert "certificate that was shown is not one that counts here" in outcomes[1].error
    assert any(b"store_server" in line for line in seen)
    assert not any(token.encode() in line for line in seen)
    assert token not in "".join(outcome.out + outcome.err for outcome in outcomes) + node.log


def test_what_is_not_given_is_in_the_environment(monkeypatch, authority, own):
    monkeypatch.setenv("ENGRAM_CA_FILE", str(authority.cert))
    monkeypatch.setenv("ENGRAM_CERT_FILE", str(own.cert))
    monkeypatch.setenv("ENGRAM_KEY_FILE", str(own.key))

    security = ConnectionOptions().to_nodes().security

    assert (security.ca_file, security.cert_file, security.key_file) == (authority.cert, own.cert, own.key)


def test_nodes_fetch_by_the_certificate_that_is_given_and_in_plain_text_only_without(authority, own):
    given = ConnectionOptions(ca_file=authority.cert, cert_file=own.cert, key_file=own.key, insecure=True)

    tls = TlsConfig(cert_file=own.cert, key_file=own.key, client_ca_file=authority.cert)
    assert given.for_listening() == (tls, False)
    assert ConnectionOptions(insecure=True).for_listening() == (None, True)
    with pytest.raises(ValueError, match="give --cert-file and --key-file"):
        ConnectionOptions(cert_file=own.cert).for_listening()


def test_a_variable_for_clients_does_not_let_a_publisher_listen_in_plain_text(monkeypatch):
    monkeypatch.setenv("ENGRAM_INSECURE", "1")

    assert ConnectionOptions().for_listening() == (None, False)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--cert-file", "/c"), "cert_file and key_file belong together"),
        (("--token-file", "/nowhere/token"), "/nowhere/token cannot be read"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_line(run, options, says):
    assert says in run("load", "grpcs://127.0.0.1:1", *SHORT, *options).error


def test_a_node_beyond_this_host_is_not_put_under_load_in_plain_text(run):
    assert "use grpcs://, or allow it" in run("load", "grpc://10.255.255.1:1", *SHORT).error


def test_a_node_does_not_listen_for_other_hosts_in_plain_text(tmp_path, run):
    write_table(tmp_path / "root", "t", random_rows(10, 8))

    outcome = run("serve", tmp_path / "root", "--listen", "0.0.0.0:0")

    assert "give --tls-cert and --tls-key, or allow it with --insecure" in outcome.error
