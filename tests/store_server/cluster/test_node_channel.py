"""A node speaks to others as it was told to: with TLS, with a token, and in plain text on its own host alone."""

import asyncio
import contextlib

import pytest
from support.block_node import block_node
from support.certificates import make_authority, make_certificate, replace, server_credentials
from support.rows import random_rows
from support.shard_maps import shard_map_of
from support.tables import write_table

from engram_store.caller_knowledge import known_by
from engram_store.shard_map import Node
from store_server.cluster.blocks.block_source import SourceFailed, block_source
from store_server.cluster.blocks.copy_sources import CopySources
from store_server.cluster.node_answers import node_answers
from store_server.cluster.node_channel import NodeChannels
from store_server.cluster.node_security import CannotSpeakTo, NodeSecurity

BEYOND = "10.255.255.1:1"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


@pytest.fixture
def version(root):
    return write_table(root, "t", random_rows(10, 8))


@pytest.fixture
def authority(tmp_path):
    return make_authority(tmp_path, "authority")


@pytest.fixture
def own(tmp_path, authority):
    return make_certificate(tmp_path, "node", authority)


async def manifest_from(url, version, channels):
    with contextlib.closing(block_source(url, channels=channels)) as source:
        return await asyncio.to_thread(source.manifest, "t", version)


async def test_blocks_come_over_tls_from_a_node_that_wants_a_certificate(root, version, authority, own):
    channels = NodeChannels(NodeSecurity(ca_file=authority.cert, cert_file=own.cert, key_file=own.key))
    async with block_node(root, credentials=server_credentials(own, clients=authority)) as address:
        assert b"block_digests" in await manifest_from(f"grpcs://{address}", version, channels)


@pytest.mark.parametrize("has_token", [True, False])
def test_every_call_says_what_a_node_knows(tmp_path, has_token):
    token_file = tmp_path / "token"
    token_file.write_text("secret\n")
    channels = NodeChannels(NodeSecurity(token_file=token_file) if has_token else None)

    assert known_by(channels.metadata()) == {"overloaded", "reads-nothing"}


async def test_a_node_of_another_authority_gives_nothing(tmp_path, root, version, own):
    stranger = make_authority(tmp_path, "stranger")
    channels = NodeChannels(NodeSecurity(ca_file=stranger.cert))
    async with block_node(root, credentials=server_credentials(own)) as address:
        with pytest.raises(SourceFailed, match=rf"grpcs://{address}: UNAVAILABLE: .*CERTIFICATE_VERIFY_FAILED"):
            await manifest_from(f"grpcs://{address}", version, channels)


async def test_each_call_bears_the_token_that_is_in_the_file_then(tmp_path, root, version):
    seconds, token, borne = [0.0], tmp_path / "token", []
    token.write_text("first\n")
    channels = NodeChannels(NodeSecurity(token_file=token), now=lambda: seconds[0])
    async with block_node(root, tokens=borne) as address:
        with contextlib.closing(block_source(f"grpc://{address}", channels=channels)) as source:
            await asyncio.to_thread(source.manifest, "t", version)
            replace(token, b"second")
            seconds[0] = 2.0
            await asyncio.to_thread(source.manifest, "t", version)

    assert borne == ["Bearer first", "Bearer second"]


def test_plain_text_beyond_this_host_is_refused_with_what_to_do():
    with pytest.raises(CannotSpeakTo, match=rf"{BEYOND} is beyond this host.*use TLS .*or allow it with --insecure"):
        block_source(f"grpc://{BEYOND}")


def test_plain_text_beyond_this_host_is_spoken_where_it_may_be():
    block_source(f"grpc://{BEYOND}", channels=NodeChannels(may_leave_host=True)).close()


def test_a_source_that_is_not_spoken_to_is_passed_over_for_the_next_one():
    with pytest.raises(SourceFailed, match="is beyond this host"):
        CopySources().open(f"grpc://{BEYOND}").manifest("t", "v")


def test_files_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(CannotSpeakTo, match="missing cannot be read"):
        block_source("grpc://127.0.0.1:1", channels=NodeChannels(NodeSecurity(token_file=tmp_path / "missing")))


async def test_nodes_beyond_this_host_are_not_asked_in_plain_text():
    with pytest.raises(CannotSpeakTo, match="is beyond this host"):
        await node_answers(shard_map_of(Node(id="a", address=BEYOND)))


def test_a_certificate_for_nodes_needs_those_by_which_theirs_are_signed(own):
    with pytest.raises(ValueError, match="--node-ca"):
        NodeSecurity(cert_file=own.cert, key_file=own.key)
    with pytest.raises(ValueError, match="a certificate and its key belong together"):
        NodeSecurity(cert_file=own.cert)
