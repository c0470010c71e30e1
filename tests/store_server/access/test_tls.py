"""A node speaks TLS with the certificate that is in its files now, and with nobody below version 1.2."""

import asyncio
import itertools
import socket
import ssl
import warnings

import numpy as np
import pytest
from structlog.testing import capture_logs
from support.certificates import DAY, NOW, make_authority, make_certificate, make_expired, replace
from support.rows import random_rows
from support.tables import write_table

import engram_client
from engram_client import errors
from store_server.access.certificate import parse_certificate
from store_server.access.server_credentials import ServerCredentials
from store_server.config import ServerConfig
from store_server.node import running
from store_server.opening import NodeFailed
from store_server.tls_config import TlsConfig

ROWS = random_rows(1000, 64)
PATIENCE_SECONDS = 30


@pytest.fixture
def authority(tmp_path):
    return make_authority(tmp_path, "authority")


@pytest.fixture
def own(tmp_path, authority):
    return make_certificate(tmp_path, "node", authority)


@pytest.fixture
def root(tmp_path):
    write_table(tmp_path / "root", "t", ROWS)
    return tmp_path / "root"


def node_with(root, own, **settings):
    tls = TlsConfig(cert_file=own.cert, key_file=own.key, **settings)
    return running(ServerConfig(root=root, listen="127.0.0.1:0", tls=tls, reload_seconds=0.05))


async def shown_by(address):
    """The certificate that a node shows to who connects now."""
    host, _, port = address.rpartition(":")
    return await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)), timeout=PATIENCE_SECONDS)


async def test_rows_come_over_tls(root, own, authority):
    async with (
        node_with(root, own) as node,
        engram_client.connect(f"grpcs://{node.address}", ca_file=authority.cert) as store,
    ):
        table = await store.table("t")

        assert np.array_equal(await table.fetch([3, 1, 4]), ROWS[[3, 1, 4]])


async def test_who_shows_no_certificate_is_refused_where_one_is_wanted(tmp_path, root, own, authority):
    me = make_certificate(tmp_path, "me", authority)
    async with node_with(root, own, client_ca_file=authority.cert) as node:
        url = f"grpcs://{node.address}"
        async with engram_client.connect(url, ca_file=authority.cert, timeout=0.3) as store:
            with pytest.raises(errors.Unavailable, match="wants a certificate"):
                await store.table("t")
        async with engram_client.connect(url, ca_file=authority.cert, cert_file=me.cert, key_file=me.key) as store:
            assert (await store.table("t")).num_rows == 1000


def handshake(address, newest):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is what is tested
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, newest
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as plain,
        context.wrap_socket(plain) as encrypted,
    ):
        return encrypted.version()


async def test_tls_of_version_1_1_is_refused(root, own):
    async with node_with(root, own) as node:
        assert await asyncio.to_thread(handshake, node.address, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
        with pytest.raises(ssl.SSLError):
            await asyncio.to_thread(handshake, node.address, ssl.TLSVersion.TLSv1_1)


async def test_a_replaced_certificate_is_shown_to_who_connects_next(tmp_path, root, own, authority):
    other = make_certificate(tmp_path, "other", authority)
    async with node_with(root, own) as node:
        assert await shown_by(node.address) == own.cert.read_text()
        own.replace(other)

        async with asyncio.timeout(PATIENCE_SECONDS):
            while await shown_by(node.address) != other.cert.read_text():
                await asyncio.sleep(0.05)


async def test_a_certificate_without_its_key_is_not_shown_and_said_to_be_none(tmp_path, root, own, authority):
    other, before = make_certificate(tmp_path, "other", authority), own.cert.read_text()
    with capture_logs() as logs:
        async with node_with(root, own) as node:
            replace(own.cert, other.cert.read_bytes())
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not (said := [line for line in logs if line["log_level"] == "error"]):
                    await asyncio.sleep(0.05)

            assert await shown_by(node.address) == before
    assert f"the key in {own.key} is not that of the certificate in {own.cert}" in said[0]["error"]


def test_what_cannot_be_used_is_counted(own):
    seconds = itertools.count(0, 2)
    credentials = ServerCredentials(TlsConfig(cert_file=own.cert, key_file=own.key), now=lambda: next(seconds))
    own.key.write_text("no key")

    with capture_logs():
        for _ in range(3):
            credentials.look()

    assert credentials.num_refused == 1


class Audited:
    failures = 0

    def __init__(self):
        self.lines = []

    def record(self, event):
        self.lines.append((event.action, event.outcome, event.details))

    def close(self):
        pass


def test_a_certificate_that_has_expired_already_does_not_replace_the_one_before(tmp_path, own, authority):
    expired, audited = make_expired(tmp_path, "expired", authority), Audited()
    seconds = itertools.count(0, 2)
    tls = TlsConfig(cert_file=own.cert, key_file=own.key)
    credentials = ServerCredentials(tls, audit=audited, now=lambda: next(seconds))
    before = credentials.ends()

    own.replace(expired)
    with capture_logs() as logs:
        for _ in range(3):
            credentials.look()

    assert credentials.ends() == before
    assert credentials.num_refused == 1
    ((action, outcome, details),) = audited.lines
    assert (action, outcome, details["file"]) == ("certificate", "refused", str(own.cert))
    assert f"the certificate in {own.cert} has expired already, at " in details["reason"]
    assert logs[0]["error"] == details["reason"]


def test_a_certificate_that_was_read_again_is_in_the_audit_log_once(tmp_path, own, authority):
    audited, seconds = Audited(), itertools.count(0, 2)
    tls = TlsConfig(cert_file=own.cert, key_file=own.key)
    credentials = ServerCredentials(tls, audit=audited, now=lambda: next(seconds))

    own.replace(make_certificate(tmp_path, "other", authority))
    for _ in range(3):
        credentials.look()

    assert audited.lines == [("certificate", "reread", {"file": str(own.cert)})]


def test_when_certificates_end_is_known(tmp_path, authority):
    own = make_certificate(tmp_path, "own", authority, ends=NOW + 7 * DAY)
    tls = TlsConfig(cert_file=own.cert, key_file=own.key, client_ca_file=authority.cert)

    ends = ServerCredentials(tls).ends()

    assert ends[own.cert] == pytest.approx((NOW + 7 * DAY).timestamp(), abs=1)
    assert ends[authority.cert] == pytest.approx((NOW + DAY).timestamp(), abs=1)


def test_a_certificate_of_a_version_that_there_is_not_is_nobodys(own):
    der = ssl.PEM_cert_to_DER_cert(own.cert.read_text())
    third, other = b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x42"

    assert parse_certificate(ssl.DER_cert_to_PEM_cert(der).encode()) is not None
    assert parse_certificate(ssl.DER_cert_to_PEM_cert(der.replace(third, other)).encode()) is None


def write_as_openssl_alone_reads_it(cert):
    cert.write_text(cert.read_text().replace(" CERTIFICATE", " TRUSTED CERTIFICATE"))


def test_what_tls_reads_and_nobody_else_has_no_end_that_is_known(own, authority):
    write_as_openssl_alone_reads_it(own.cert)
    tls = TlsConfig(cert_file=own.cert, key_file=own.key, client_ca_file=authority.cert)

    assert ServerCredentials(tls).ends().keys() == {authority.cert}


def test_a_certificate_that_tls_reads_and_nobody_else_does_not_replace_the_one_before(own):
    seconds = itertools.count(0, 2)
    credentials = ServerCredentials(TlsConfig(cert_file=own.cert, key_file=own.key), now=lambda: next(seconds))
    before = credentials.ends()
    write_as_openssl_alone_reads_it(own.cert)

    with capture_logs() as logs:
        for _ in range(3):
            credentials.look()

    assert credentials.ends() == before
    assert f"the certificate in {own.cert} cannot be read" in logs[0]["error"]


async def test_a_node_does_not_start_with_files_that_cannot_be_used(root, own):
    own.key.unlink()

    with pytest.raises(NodeFailed, match="node.key cannot be read: No such file or directory"):
        async with node_with(root, own):
            pass


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "memory-1:1"])
def test_plain_text_that_could_leave_this_host_is_refused_with_what_to_do(tmp_path, listen):
    with pytest.raises(ValueError, match="give --tls-cert and --tls-key, or allow it with --insecure"):
        ServerConfig(root=tmp_path, listen=listen)

    assert ServerConfig(root=tmp_path, listen=listen, insecure=True).tls is None


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:///run/node"])
def test_plain_text_stays_on_this_host_without_further_ado(tmp_path, listen):
    assert not ServerConfig(root=tmp_path, listen=listen).insecure


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"listen": "unix:///run/node"}, "is for this host alone and takes no TLS"),
        ({"insecure": True}, "give one of them"),
    ],
)
def test_tls_that_cannot_be_meant_is_refused(tmp_path, own, settings, says):
    with pytest.raises(ValueError, match=says):
        ServerConfig(root=tmp_path, tls=TlsConfig(cert_file=own.cert, key_file=own.key), **settings)
