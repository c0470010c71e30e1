"""Over TLS a node is spoken to that shows the right certificate; any other is refused, and why can be understood."""

import asyncio
import datetime
import re

import numpy as np
import pytest
from support.certificates import DAY, NOW, make_authority, make_certificate, make_expired, server_credentials
from support.fake_node import FakeNode
from support.rows import random_rows

import engram_client
from engram_client import errors
from engram_client.grpc_transport import GrpcTransport
from engram_client.handshake_words import with_handshake_words
from engram_client.keyring import Keyring
from engram_client.security import Security
from engram_store.v1.table_service_pb2 import Workers

SECONDS = 1.5  # tries that fail are repeated for so long; a handshake on a busy core takes some tenths
PATIENCE_SECONDS = 30
ROWS = random_rows(100, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder):
    return make_authority(folder, "authority")


@pytest.fixture(scope="module")
def stranger(folder):
    return make_authority(folder, "stranger")


@pytest.fixture(scope="module")
def own(folder, authority):
    return make_certificate(folder, "node", authority)


def connect(url, **given):
    return engram_client.connect(url, timeout=SECONDS, **given)


async def refusal(url, **given):
    """Why a client does not get through to a node."""
    async with connect(url, **given) as store:
        with pytest.raises(errors.Unavailable) as caught:
            await store.table("t")
    return str(caught.value)


async def test_rows_come_over_tls(authority, own):
    async with (
        FakeNode(ROWS).listening(credentials=server_credentials(own)) as url,
        connect(url, ca_file=authority.cert) as store,
    ):
        table = await store.table("t")

        assert np.array_equal(await table.fetch([3, 1, 4]), ROWS[[3, 1, 4]])


async def test_rows_come_to_a_client_that_shows_a_certificate(folder, authority, own):
    me = make_certificate(folder, "client", authority)
    async with (
        FakeNode(ROWS).listening(credentials=server_credentials(own, clients=authority)) as url,
        connect(url, ca_file=authority.cert, cert_file=me.cert, key_file=me.key) as store,
    ):
        table = await store.table("t")

        assert np.array_equal(await table.fetch([3, 1, 4]), ROWS[[3, 1, 4]])


async def test_a_certificate_of_another_authority_is_refused(stranger, own):
    async with FakeNode(ROWS).listening(credentials=server_credentials(own)) as url:
        says = await refusal(url, ca_file=stranger.cert)

    assert f"the node's certificate is not signed by {stranger.cert}" in says
    assert "CERTIFICATE_VERIFY_FAILED" in says


async def test_without_authorities_of_its_own_a_client_is_told_of_ca_file(own):
    async with FakeNode(ROWS).listening(credentials=server_credentials(own)) as url:
        says = await refusal(url)

    assert "not signed by an authority that gRPC trusts; name yours by ca_file" in says


async def test_an_expired_certificate_is_refused(folder, authority):
    expired = make_expired(folder, "expired", authority)
    async with FakeNode(ROWS).listening(credentials=server_credentials(expired)) as url:
        assert "the node's certificate, or that of its authority, has expired" in await refusal(
            url, ca_file=authority.cert
        )


async def test_a_certificate_of_tomorrow_is_refused(folder, authority):
    begins = NOW + datetime.timedelta(hours=1)
    future = make_certificate(folder, "future", authority, begins=begins, ends=NOW + DAY)
    async with FakeNode(ROWS).listening(credentials=server_credentials(future)) as url:
        says = await refusal(url, ca_file=authority.cert)

    assert "the node's certificate is not valid yet, or the clock of this host is slow" in says


async def test_a_certificate_of_another_host_is_refused(folder, authority):
    other = make_certificate(folder, "elsewhere", authority, hosts=["elsewhere.example"])
    async with FakeNode(ROWS).listening(credentials=server_credentials(other)) as url:
        says = await refusal(url, ca_file=authority.cert)

    assert "the node's certificate is for another name than the one it was called by" in says


async def test_who_shows_no_certificate_is_told_that_one_is_wanted(authority, own):
    async with FakeNode(ROWS).listening(credentials=server_credentials(own, clients=authority)) as url:
        says = await refusal(url, ca_file=authority.cert)

    assert "as one does that wants a certificate: show one by cert_file" in says


@pytest.mark.parametrize("kind", ["of another authority", "expired"])
async def test_who_shows_a_wrong_certificate_is_told_which(folder, authority, stranger, own, kind):
    me = make_expired(folder, "late", authority) if kind == "expired" else make_certificate(folder, "odd", stranger)
    async with FakeNode(ROWS).listening(credentials=server_credentials(own, clients=authority)) as url:
        says = await refusal(url, ca_file=authority.cert, cert_file=me.cert, key_file=me.key)

    assert f"as one does that does not accept the certificate in {me.cert}" in says
    assert "PRIVATE" not in says


def test_who_is_told_of_the_last_address_of_localhost_alone_hears_that_the_other_may_be_the_one():
    refused = "last error: UNKNOWN: ipv6:%5B::1%5D:50051: Failed to connect to remote host: Connection refused"

    says = with_handshake_words(f"failed to connect to all addresses; {refused}", Security())

    assert says.startswith("nobody listens at ::1; where localhost was called")
    assert refused in says


async def test_tls_to_a_node_of_plain_text_is_refused(authority):
    async with FakeNode(ROWS).listening() as url:
        says = await refusal(url.replace("grpc:", "grpcs:"), ca_file=authority.cert)

    assert "the node speaks no TLS there" in says


async def test_plain_text_to_a_node_of_tls_is_refused(own):
    async with FakeNode(ROWS).listening(credentials=server_credentials(own)) as url:
        assert "as one does that speaks TLS: try grpcs://" in await refusal(url.replace("grpcs:", "grpc:"))


async def test_a_node_that_is_simply_away_is_not_said_to_speak_tls():
    says = await refusal("grpc://127.0.0.1:9")

    assert not re.search("TLS|certificate", says)


async def test_a_file_that_cannot_be_used_is_named_at_once(tmp_path):
    async with connect("grpcs://127.0.0.1:9", ca_file=tmp_path / "missing") as store:
        with pytest.raises(errors.InvalidCredentials, match="missing cannot be read: No such file or directory"):
            await store.table("t")


async def test_workers_are_spoken_to_by_tls_too(authority, own):
    node, worker = FakeNode(ROWS), FakeNode(ROWS)
    credentials = server_credentials(own)
    async with node.listening(credentials=credentials) as url, worker.listening(credentials=credentials) as other:
        node.workers = Workers(node="n", listen=[each.rpartition(":")[2] for each in (url, other)])
        async with connect(url, ca_file=authority.cert) as store:
            await store.table("t")

            async with asyncio.timeout(PATIENCE_SECONDS):
                while not worker.listed:
                    await asyncio.sleep(0.01)


async def test_an_address_beyond_this_host_that_is_learnt_of_later_is_not_spoken_to_in_plain_text():
    transport = GrpcTransport("10.255.255.1:1", keyring=Keyring(Security(token="t")))

    with pytest.raises(errors.InsecureUrl, match=r"10\.255\.255\.1:1 is beyond this host"):
        await transport.list_tables(30)
