"""The port with the metrics against callers that are slow, many, or ask for something else."""

import contextlib
import http.client
import socket
import ssl
import threading

import pytest
from support.certificates import make_authority, make_certificate

from store_server.listen_address import CannotListen
from store_server.observing.metrics_port import MetricsPort

PATIENCE_SECONDS = 60


@contextlib.contextmanager
def port(exposition=lambda: b"engram_rows_total 7.0\n", tls=None, **limits):
    port = MetricsPort("127.0.0.1:0", exposition, tls, **limits)
    try:
        yield port
    finally:
        port.close()


def asked(address, path, method="GET"):
    connection = http.client.HTTPConnection(address, timeout=PATIENCE_SECONDS)
    connection.request(method, path)
    response = connection.getresponse()
    return response.status, response.read()


def asked_with(authority, address):
    """The status of an answer from whom the authority vouches for."""
    trusted = ssl.create_default_context(cafile=authority.cert)
    connection = http.client.HTTPSConnection(address, timeout=PATIENCE_SECONDS, context=trusted)
    connection.request("GET", "/metrics")
    return connection.getresponse().status


def connected(address):
    host, _, number = address.rpartition(":")
    return socket.create_connection((host, int(number)), PATIENCE_SECONDS)


def test_metrics_are_at_one_path_and_nothing_is_at_others():
    with port() as shown:
        assert asked(shown.address, "/metrics") == (200, b"engram_rows_total 7.0\n")
        assert asked(shown.address, "/metrics?name=x") == (200, b"engram_rows_total 7.0\n")
        assert asked(shown.address, "/")[1].count(b"\n") == 1
        assert asked(shown.address, "/../etc/passwd")[0] == 404
        assert asked(shown.address, "/metrics", "POST")[0] == 501


def test_who_cannot_be_told_hears_of_a_failure():
    def fails():
        raise ZeroDivisionError

    with port(fails) as shown:
        assert asked(shown.address, "/metrics")[0] == 500


def test_callers_that_say_little_keep_nobody_out_for_long():
    with port(request_seconds=0.5) as shown, contextlib.ExitStack() as slow:
        callers = [slow.enter_context(connected(shown.address)) for _ in range(20)]
        for caller in callers:
            while True:
                try:
                    caller.sendall(b"G")
                    if caller.recv(1) == b"":
                        break
                except OSError:
                    break

        assert asked(shown.address, "/metrics")[0] == 200


def test_more_than_some_at_once_are_hung_up_on():
    begun, may_end = threading.Semaphore(0), threading.Event()

    def slow():
        begun.release()
        assert may_end.wait(PATIENCE_SECONDS)
        return b""

    with port(slow) as shown:
        waiting = [connected(shown.address) for _ in range(8)]
        for each in waiting:
            each.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert begun.acquire(timeout=PATIENCE_SECONDS)

        with connected(shown.address) as one_more:
            assert one_more.recv(1) == b""
        may_end.set()

        for each in waiting:
            with each, each.makefile("rb") as answer:
                assert answer.readline() == b"HTTP/1.0 200 OK\r\n"


def test_a_port_in_use_is_an_error_that_names_it():
    with port() as shown, pytest.raises(CannotListen, match=shown.address):
        MetricsPort(shown.address, lambda: b"")


def test_new_certificates_count_for_the_next_request(tmp_path):
    authorities = [make_authority(tmp_path, name) for name in ("one", "other")]
    served = make_certificate(tmp_path, "node", authorities[0])

    def tls():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(served.cert, served.key)
        return context

    with port(tls=tls) as shown:
        assert asked_with(authorities[0], shown.address) == 200
        make_certificate(tmp_path, "node", authorities[1])

        assert asked_with(authorities[1], shown.address) == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            asked_with(authorities[0], shown.address)
        served.cert.unlink()
        with pytest.raises(OSError, match="closed|reset|EOF"):
            asked_with(authorities[1], shown.address)
        make_certificate(tmp_path, "node", authorities[1])
        assert asked_with(authorities[1], shown.address) == 200


def test_who_speaks_no_tls_keeps_nobody_out(tmp_path):
    authority = make_authority(tmp_path, "authority")
    served = make_certificate(tmp_path, "node", authority)

    def tls():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(served.cert, served.key)
        return context

    with port(tls=tls) as shown, connected(shown.address) as silent:
        with pytest.raises((OSError, http.client.HTTPException)):
            asked(shown.address, "/metrics")

        assert asked_with(authority, shown.address) == 200
        assert silent.fileno() > 0
