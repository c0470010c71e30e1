"""A real node over TLS: whom it lets in by certificate, and which nodes clients turn away from."""

import contextlib
import datetime

import grpc
import pytest
from support.certificates import DAY, HOUR, NOW, make_authority, make_certificate, make_expired
from support.rows import random_rows
from support.tables import write_table

from engram_store.v1 import lookup_service_pb2 as pb
from engram_store.v1 import lookup_service_pb2_grpc as stubs
from store_server.config import ServerConfig
from store_server.node import running
from store_server.tls_config import TlsConfig

ROWS = random_rows(100, 16)
SECONDS = 2.0  # a connection that is refused is tried again for so long
PATIENCE_SECONDS = 30.0
TOMORROW = {"begins": NOW + datetime.timedelta(hours=2), "ends": NOW + DAY}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    write_table(folder / "root", "t", ROWS)
    return folder


@pytest.fixture(scope="module")
def authority(folder):
    return make_authority(folder, "authority")


@pytest.fixture(scope="module")
def stranger(folder):
    return make_authority(folder, "stranger")


@contextlib.asynccontextmanager
async def node_that_shows(folder, own, *, clients=None):
    tls = TlsConfig(cert_file=own.cert, key_file=own.key, client_ca_file=None if clients is None else clients.cert)
    async with running(ServerConfig(root=folder / "root", listen="127.0.0.1:0", tls=tls)) as node:
        yield node


async def status_of_lookup(node, trusted, own=None, *, seconds=PATIENCE_SECONDS):
    """What becomes of a lookup by who trusts one authority and shows a certificate, or none."""
    pair = (None, None) if own is None else (own.key.read_bytes(), own.cert.read_bytes())
    credentials = grpc.ssl_channel_credentials(trusted.cert.read_bytes(), *pair)
    async with grpc.aio.secure_channel(node.address, credentials) as channel:
        try:
            request = pb.LookupRequest(table="t", rows=[7])
            reply = await stubs.LookupServiceStub(channel).Lookup(request, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            return error.code()
    assert reply.rows == ROWS[7].tobytes()
    return grpc.StatusCode.OK


async def test_a_node_serves_those_alone_whose_certificate_counts_now(folder, authority, stranger):
    def client(name, signed_by=authority, **times):
        return make_certificate(folder, name, signed_by, **times)

    own, right = client("node"), client("right")
    refused = {
        "none": None,
        "of another authority": client("odd", stranger),
        "expired": make_expired(folder, "late", authority),
        "not yet valid": client("early", **TOMORROW),
    }

    async with node_that_shows(folder, own, clients=authority) as node:
        found = {
            what: await status_of_lookup(node, authority, shown, seconds=SECONDS) for what, shown in refused.items()
        }
        assert await status_of_lookup(node, authority, right) is grpc.StatusCode.OK

    assert found == dict.fromkeys(refused, grpc.StatusCode.UNAVAILABLE)


@pytest.mark.parametrize("kind", ["right", "expired", "not yet valid", "of another host"])
async def test_a_node_with_a_wrong_certificate_is_turned_away_from(folder, authority, kind):
    own = {
        "right": lambda: make_certificate(folder, "right node", authority),
        "expired": lambda: make_expired(folder, "old node", authority),
        "not yet valid": lambda: make_certificate(folder, "early node", authority, **TOMORROW),
        "of another host": lambda: make_certificate(folder, "elsewhere", authority, hosts=["elsewhere.example"]),
    }[kind]()

    async with node_that_shows(folder, own) as node:
        found = await status_of_lookup(node, authority, seconds=SECONDS)

    assert found is (grpc.StatusCode.OK if kind == "right" else grpc.StatusCode.UNAVAILABLE)


async def test_a_node_of_another_authority_is_turned_away_from(folder, authority, stranger):
    own = make_certificate(folder, "right node", authority, begins=NOW - HOUR, ends=NOW + DAY)

    async with node_that_shows(folder, own) as node:
        assert await status_of_lookup(node, stranger, seconds=SECONDS) is grpc.StatusCode.UNAVAILABLE
        assert await status_of_lookup(node, authority) is grpc.StatusCode.OK
