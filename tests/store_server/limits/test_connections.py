"""Connections that a node's clients have, as the node finds them among its open files."""

import contextlib
import socket

import pytest

from store_server.limits.connections import Connections


class Listening:
    """A socket of this process that listens, and what connects to it."""

    def __init__(self, stack, family, host):
        self.stack = stack
        self.listener = stack.enter_context(socket.create_server((host, 0), family=family, dualstack_ipv6=False))
        self.port = self.listener.getsockname()[1]
        self.host = host

    def connect(self):
        """The client's end of an accepted connection, and how gRPC would name it."""
        client = self.stack.enter_context(socket.create_connection((self.host, self.port)))
        self.accepted = self.stack.enter_context(self.listener.accept()[0])
        name = client.getsockname()[:2]
        return client, f"ipv4:{name[0]}:{name[1]}" if ":" not in self.host else f"ipv6:%5B{name[0]}%5D:{name[1]}"


@pytest.fixture
def listening():
    with contextlib.ExitStack() as stack:
        yield Listening(stack, socket.AF_INET, "127.0.0.1")


def watched(listening, most):
    connections = Connections(most)
    connections.listen_on(listening.port)
    return connections


def is_cut_off(client):
    client.settimeout(0.05)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False


def test_connections_are_counted_and_those_beyond_the_limit_cut_off_the_newest_first(listening):
    connections = watched(listening, 2)
    first, _ = listening.connect()
    connections.look()
    second, _ = listening.connect()
    connections.look()
    third, _ = listening.connect()
    connections.look()

    assert [is_cut_off(client) for client in (first, second, third)] == [False, False, True]
    assert (connections.number, connections.cut_off) == (2, 1)


def test_a_call_on_a_connection_beyond_the_limit_is_not_admitted_until_another_ends(listening):
    connections = watched(listening, 1)
    first, peer = listening.connect()

    assert connections.admits(peer)
    assert connections.admits(peer)
    assert not connections.admits("ipv4:127.0.0.1:1")

    first.close()
    listening.accepted.close()
    connections.look()
    assert connections.admits("ipv4:127.0.0.1:1")


def test_one_connection_is_cut_off_by_the_name_of_its_peer(listening):
    connections = watched(listening, 10)
    kept, _ = listening.connect()
    ended, peer = listening.connect()

    assert connections.end(peer)
    assert (is_cut_off(kept), is_cut_off(ended)) == (False, True)
    assert not connections.end("ipv4:127.0.0.1:1")


def test_connections_at_other_ports_are_nobodys_business(listening):
    other = Listening(listening.stack, socket.AF_INET, "127.0.0.1")
    client, peer = other.connect()
    connections = watched(listening, 1)
    connections.look()

    assert connections.number == 0
    assert not connections.end(peer)
    assert not is_cut_off(client)


def test_peers_of_ipv6_are_named_as_grpc_names_them():
    with contextlib.ExitStack() as stack:
        try:
            listening = Listening(stack, socket.AF_INET6, "::1")
        except OSError:
            pytest.skip("this host has no IPv6")
        connections = watched(listening, 1)
        client, peer = listening.connect()

        assert connections.end(peer)
        assert is_cut_off(client)


def test_at_a_unix_socket_nobody_is_counted():
    connections = Connections(2)
    connections.listen_on(0)
    connections.look()

    assert all(connections.admits("unix:") for _ in range(5))
    assert connections.number == 0
