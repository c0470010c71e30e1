"""A URL names a way to the rows and where they are, or is refused with what would."""

import socket

import pytest
from support.rows import random_rows
from support.tables import write_table

import engram_client
from engram_client import errors
from engram_client.url import parse_url
from store_server.config import ServerConfig
from store_server.node import running


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("grpc://127.0.0.1:50052", "127.0.0.1:50052"),
        ("grpc://memory-node_1.example.org", "memory-node_1.example.org:50051"),
        ("grpc://Node:1/", "Node:1"),
        ("grpc://node:65535", "node:65535"),
        ("grpc://[::1]:50052", "[::1]:50052"),
        ("grpc://[2001:DB8::7]", "[2001:db8::7]:50051"),
        ("grpc://[fe80::1%25eth0]:1", "[fe80::1%25eth0]:1"),
        ("grpc://[fe80::1%eth0]:1", "[fe80::1%25eth0]:1"),
        ("unix:///run/node.sock", "unix:/run/node.sock"),
        ("unix:///run/a%20%2541?", "unix:/run/a%20%2541%3F"),
        ("file:///data/a%20b", "/data/a b"),
    ],
)
def test_a_url_is_taken_apart(url, address):
    assert parse_url(url).addresses == (address,)


def test_several_nodes_of_a_cluster_are_parted_by_commas():
    assert parse_url("grpc://a,b:1,[::1]:2/").addresses == ("a:50051", "b:1", "[::1]:2")


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:50051",
        "http://127.0.0.1:50051",
        "grpc://",
        "grpc://:1",
        "grpc://host:",
        "grpc://host:port",
        "grpc://host:0",
        "grpc://host:-1",
        "grpc://host:65536",
        "grpc://host:50051000",
        "grpc://host:1:2",
        "grpc://host:1/path",
        "grpc://host:1?query",
        "grpc://user@host:1",
        "grpc://ho st:1",
        "grpc://host:1\n",
        "grpc://h\u00f6st:1",
        "grpc://a,,b:1",
        "grpc://a:1,",
        "grpc://a:1, b:1",
        "grpc://::1:50051",
        "grpc://[::1",
        "grpc://[::1]x:1",
        "grpc://[::g]:1",
        "grpc://[127.0.0.1]:1",
        "unix://relative/path",
        "file://host/path",
        "file:///",
        b"grpc://host:1",
        5,
    ],
)
def test_what_names_no_store_is_refused_with_what_would(url):
    with pytest.raises(errors.InvalidUrl) as caught:
        engram_client.connect(url)

    assert repr(url) in str(caught.value)
    assert "give grpcs://HOST:PORT[,HOST:PORT...], grpc:// for plain text, unix:///PATH or file:///ROOT" in str(
        caught.value
    )


@pytest.fixture
def root(tmp_path):
    write_table(tmp_path / "root", "t", random_rows(10, 8))
    return tmp_path / "root"


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")
async def test_a_node_is_found_at_an_ipv6_address(root):
    async with (
        running(ServerConfig(root=root, listen="[::1]:0")) as node,
        engram_client.connect(f"grpc://{node.address}") as store,
    ):
        assert (await store.table("t")).num_rows == 10


async def test_a_node_is_found_at_a_path_of_any_name(root, tmp_path):
    async with running(ServerConfig(root=root, listen=f"unix://{tmp_path}/node.sock")):
        (tmp_path / "node.sock").rename(tmp_path / "a b%41?.sock")

        async with engram_client.connect(f"unix://{tmp_path}/a%20b%2541%3F.sock") as store:
            assert (await store.table("t")).num_rows == 10
