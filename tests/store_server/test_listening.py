"""Addresses: what may be asked for, what is printed, and what is said when one is taken."""

import contextlib
import socket
import subprocess
import sys

import numpy as np
import pytest
from support.rows import random_rows
from support.tables import write_table

import engram_client
from store_server.config import ServerConfig
from store_server.listen_address import CannotListen, ListenAddress
from store_server.node import running

ROWS = random_rows(10, 8)
TAKEN = "Address already in use: end the process that listens there, or choose another port"


@pytest.fixture
def root(tmp_path):
    write_table(tmp_path / "root", "t", ROWS)
    return tmp_path / "root"


def require_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this host has no IPv6")


@pytest.mark.parametrize("listen", ["::1:0", "[::1]:0", "localhost:0"])
async def test_a_client_can_connect_to_the_address_of_a_node(root, listen):
    if ":1" in listen:
        require_ipv6()
    async with (
        running(ServerConfig(root=root, listen=listen)) as node,
        engram_client.connect(f"grpc://{node.address}") as store,
    ):
        assert node.address.startswith("localhost:" if listen == "localhost:0" else "[::1]:")
        assert np.array_equal(await (await store.table("t")).fetch([3]), ROWS[[3]])


@contextlib.contextmanager
def taken_port(host):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as taken:
        taken.bind((host, 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.mark.parametrize(("host", "listen"), [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "localhost"), ("::1", "[::1]")])
def test_a_port_that_is_taken_is_refused(host, listen):
    if ":" in host:
        require_ipv6()
    with taken_port(host) as port, pytest.raises(CannotListen) as refused:
        ListenAddress.parse(f"{listen}:{port}").require_free()

    assert str(refused.value) == f"cannot listen on {listen}:{port}: {TAKEN}"


def test_a_node_whose_port_is_taken_says_so_in_one_line_and_grpc_says_nothing(root):
    with taken_port("127.0.0.1") as port:
        command = [sys.executable, "-m", "store_server", "serve", str(root), "--listen", f"localhost:{port}"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"error: cannot listen on localhost:{port}: {TAKEN}\n"


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_another_host_is_refused(host):
    with pytest.raises(CannotListen, match=f"cannot listen on {host}:0"):
        ListenAddress.parse(f"{host}:0").require_free()


@pytest.mark.parametrize(
    "text",
    ["", "host", ":1", "[]:1", "host:", "host:x", "host:65536", "host:-1", "unix://", "unix:///", "unix://relative"],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="listen must be"):
        ListenAddress.parse(text)
