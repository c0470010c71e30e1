"""How a publisher's server begins and ends."""

import asyncio
import contextlib

import grpc
import numpy as np
import pytest
from support.certificates import make_authority, make_certificate
from support.credentials import CredentialsOnDisk
from support.network import free_ports
from support.tables import write_table

from engram_store.v1 import block_service_pb2 as pb
from engram_store.v1.block_service_pb2_grpc import BlockServiceStub
from store_server.access.credentials import InvalidCredentials
from store_server.cluster.blocks.block_server import serving_blocks
from store_server.cluster.blocks.block_source import SourceFailed, block_source
from store_server.cluster.node_channel import NodeChannels
from store_server.cluster.node_security import NodeSecurity
from store_server.listen_address import CannotListen
from store_server.storage import DataRoot
from store_server.tls_config import TlsConfig

PATIENCE_SECONDS = 30


@pytest.fixture
def root(tmp_path):
    write_table(tmp_path / "root", "t", np.zeros((64, 1 << 20), np.uint8))
    return DataRoot.open(tmp_path / "root")


async def test_calls_that_a_stop_cuts_off_have_ended_with_it(root):
    before = asyncio.all_tasks()

    async with serving_blocks(root, "127.0.0.1:0") as address:
        channel = grpc.insecure_channel(address)
        request = pb.ReadBlocksRequest(table="t", version=root.current_version("t"), first_block=0, num_blocks=16)
        calls = [BlockServiceStub(channel).ReadBlocks(request, timeout=PATIENCE_SECONDS) for _ in range(4)]
        for call in calls:
            await asyncio.to_thread(next, call)

    assert asyncio.all_tasks() == before
    channel.close()


async def test_a_port_that_is_taken_is_said_to_be_so_and_nothing_else_is_printed(root, capfd):
    (port,) = free_ports(1)

    async with serving_blocks(root, f"127.0.0.1:{port}") as address:
        with pytest.raises(CannotListen, match=rf"^cannot listen on {address}: Address already in use: end the"):
            async with serving_blocks(root, address):
                pass

    assert capfd.readouterr().err == ""


async def test_where_credentials_are_given_a_node_fetches_with_the_right_to_replicate_and_nobody_without(
    root, tmp_path
):
    credentials = CredentialsOnDisk(tmp_path / "tokens.toml")
    shown = tmp_path / "token"
    shown.write_text(credentials.add("a node", "replicate").text())

    async with serving_blocks(root, "127.0.0.1:0", tokens=credentials.path) as address:

        def fetched(security=None):
            with contextlib.closing(block_source(f"grpc://{address}", channels=NodeChannels(security))) as source:
                return source.manifest("t", root.current_version("t"))

        node = NodeSecurity(token_file=shown)
        assert b"block_digests" in await asyncio.to_thread(fetched, node)
        with pytest.raises(SourceFailed, match="UNAUTHENTICATED: .*show a token, or a client"):
            await asyncio.to_thread(fetched)
        shown.write_text(credentials.add("a reader", "read").text())
        with pytest.raises(SourceFailed, match="PERMISSION_DENIED: .*replicate"):
            await asyncio.to_thread(fetched, node)


async def test_credentials_that_cannot_be_read_admit_nobody(root, tmp_path):
    with pytest.raises(InvalidCredentials, match=r"missing\.toml: no such file"):
        async with serving_blocks(root, "127.0.0.1:0", tokens=tmp_path / "missing.toml"):
            pass


async def test_of_certificates_one_authority_signed_only_the_named_one_fetches(root, tmp_path):
    authority = make_authority(tmp_path, "authority")
    publisher, named, other = (make_certificate(tmp_path, name, authority) for name in ("publisher", "n1", "n2"))
    credentials = CredentialsOnDisk(tmp_path / "tokens.toml")
    credentials.add_certificate("n1", 'common_name = "n1"', "replicate")
    tls = TlsConfig(cert_file=publisher.cert, key_file=publisher.key, client_ca_file=authority.cert)

    async with serving_blocks(root, "127.0.0.1:0", tls, tokens=credentials.path) as address:

        def fetched(own):
            security = NodeSecurity(ca_file=authority.cert, cert_file=own.cert, key_file=own.key)
            with contextlib.closing(block_source(f"grpcs://{address}", channels=NodeChannels(security))) as source:
                return source.manifest("t", root.current_version("t"))

        assert b"block_digests" in await asyncio.to_thread(fetched, named)
        with pytest.raises(SourceFailed, match="UNAUTHENTICATED"):
            await asyncio.to_thread(fetched, other)
