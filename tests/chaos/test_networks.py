"""The networks that scenarios make bad do what they say, and no more."""

import contextlib
import subprocess
import sys

import pytest
from support.network_namespaces import namespaces, namespaces_are_permitted
from support.network_proxies import proxies

# Answers every byte with itself, once it has told that it listens.
ECHO = """
import socket, sys
host, port = sys.argv[1].split(":")
listener = socket.create_server((host, int(port)))
print("listening", flush=True)
while True:
    connection = listener.accept()[0]
    while received := connection.recv(4096):
        connection.sendall(received)
"""
# For each line sends so many bytes, and tells how many came back and how long it took. It waits for more of them for as
# many seconds as the line says.
ASK = """
import socket, sys, time
host, port = sys.argv[1].split(":")
connection = socket.create_connection((host, int(port)), timeout=10)
print("connected", flush=True)
for line in sys.stdin:
    number, seconds = line.split()
    connection.settimeout(float(seconds))
    began, received = time.monotonic(), 0
    try:
        connection.sendall(bytes(int(number)))
        while received < int(number):
            received += len(connection.recv(1 << 16))
    except TimeoutError:
        pass
    print(received, time.monotonic() - began, flush=True)
"""
WAIT_SECONDS, SHORT_WAIT_SECONDS = 20.0, 0.3
NODE = 0


class Asker:
    """A connection through a network to an echo."""

    def __init__(self, process):
        self._process = process

    def ask(self, num_bytes, seconds=WAIT_SECONDS):
        """Returns the bytes that came back and the seconds that they took."""
        self._process.stdin.write(f"{num_bytes} {seconds}\n")
        received, took = self._process.stdout.readline().split()
        return int(received), float(took)


@contextlib.contextmanager
def ended_after(*command, **options):
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1, **options) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def asker(network):
    echo = (*network.prefix(NODE), sys.executable, "-c", ECHO, network.listen(NODE))
    client = (*network.client_prefix, sys.executable, "-c", ASK, network.address(NODE))
    with ended_after(*echo) as process:
        process.stdout.readline()
        with ended_after(*client, stdin=subprocess.PIPE) as process:
            process.stdout.readline()
            yield Asker(process)


def wired(num_nodes):
    if not namespaces_are_permitted():
        pytest.skip("needs network namespaces, which take root")
    return namespaces(num_nodes, wired=range(num_nodes))


NETWORKS = pytest.mark.parametrize("made", [wired, proxies])


@NETWORKS
def test_a_cut_lets_nothing_through_closes_nothing_and_loses_nothing_when_it_is_mended(made):
    with made(1) as network, asker(network) as connection:
        assert connection.ask(1000)[0] == 1000
        network.cut(NODE)
        during, _ = connection.ask(1000, SHORT_WAIT_SECONDS)
        network.mend(NODE)

        assert during == 0
        assert connection.ask(1000)[0] >= 1000


@NETWORKS
def test_a_round_trip_is_longer_by_what_was_added_until_that_is_taken_away(made):
    with made(1) as network, asker(network) as connection:
        network.impair(NODE, round_trip_seconds=0.2)
        _, far = connection.ask(1000)
        network.impair(NODE)
        near = min(connection.ask(1000)[1] for _ in range(5))

        assert far >= 0.2
        assert near < far / 2


def test_packets_are_lost_and_tcp_brings_them_again():
    with wired(1) as network, asker(network) as connection:
        network.impair(NODE, loss=1.0)
        lost, _ = connection.ask(1000, SHORT_WAIT_SECONDS)
        network.impair(NODE, loss=0.05)
        some, _ = connection.ask(300_000)

        assert lost == 0
        assert some >= 300_000


def test_a_proxy_says_that_it_cannot_lose_packets():
    with proxies(1) as network, pytest.raises(ValueError, match="cannot lose packets"):
        network.impair(NODE, loss=0.01)
