"""What is half sent of messages: found by subtraction, and bounded by cutting off those that hold most."""

import contextlib
import socket

import pytest

from store_server.limits.connections import Connections
from store_server.limits.half_sent import HalfSent, Traffic

MIB = 1 << 20
CALL_BYTES = 16 << 10


@pytest.fixture
def half_sent():
    return HalfSent(8 * MIB, CALL_BYTES)


class Clock:
    """Goes on by a second with each look."""

    def __init__(self, half_sent):
        self.half_sent = half_sent
        self.seconds = 0.0

    def look(self, **received):
        self.seconds += 1
        traffic = {peer: each if isinstance(each, Traffic) else Traffic(each, 0) for peer, each in received.items()}
        return self.half_sent.too_much(traffic, self.seconds)


def test_what_was_handed_out_is_not_held(half_sent):
    clock = Clock(half_sent)
    arrived = half_sent.of("a")

    for number in range(1, 100):
        arrived.calls += 1
        arrived.message(4 * MIB)
        assert clock.look(a=number * (4 * MIB + 1000)) == {}

    assert half_sent.num_bytes == 0


def test_what_is_never_handed_out_is_held_and_counts_at_the_second_look(half_sent):
    clock = Clock(half_sent)
    clock.look(a=1000)

    assert clock.look(a=20 * MIB) == {}  # may be just arriving
    assert half_sent.num_bytes == 0
    assert list(clock.look(a=20 * MIB)) == ["a"]
    assert half_sent.num_bytes == pytest.approx(20 * MIB, rel=0.01)


def test_who_sent_less_beside_its_messages_than_is_allowed_may_hold_no_more_for_it(half_sent):
    clock = Clock(half_sent)
    arrived = half_sent.of("a")
    for number in range(1, 2000):
        arrived.calls += 1
        arrived.message(100)
        clock.look(a=number * 150)

    received = 2000 * 150 + 9 * MIB
    clock.look(a=received)
    assert list(clock.look(a=received)) == ["a"]


def test_those_that_hold_most_are_cut_off_until_the_rest_is_within_the_limit(half_sent):
    clock = Clock(half_sent)
    held = {"a": 3 * MIB, "b": 6 * MIB, "c": 2 * MIB, "d": 1}
    clock.look(**dict.fromkeys(held, 0))
    clock.look(**held)

    assert list(clock.look(**held)) == ["b"]
    assert clock.look(**{peer: num_bytes for peer, num_bytes in held.items() if peer != "b"}) == {}
    assert half_sent.num_bytes < 6 * MIB


def test_pings_of_idle_connections_and_updates_of_windows_never_add_up(half_sent):
    clock = Clock(half_sent)

    for number in range(1, 10_000):
        idle, reading = Traffic(number * 30, number * 40), Traffic(number * 3000, number * MIB)
        assert clock.look(idle=idle, reading=reading) == {}

    assert half_sent.num_bytes == 0


def test_a_connection_that_is_newer_than_what_was_looked_at_keeps_what_its_calls_count(half_sent):
    clock = Clock(half_sent)
    arrived = half_sent.of("new")
    clock.look(other=0)
    arrived.message(30 * MIB)

    clock.look(new=30 * MIB)
    clock.look(new=30 * MIB)
    assert half_sent.num_bytes == 0
    clock.look(other=0)
    clock.look(other=0)
    assert half_sent.of("new") is not arrived


def test_a_connection_over_which_more_comes_than_is_handed_out_is_cut_off():
    connections = Connections(10, HalfSent(MIB // 2, CALL_BYTES))
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        pairs = []
        for _ in range(2):
            client = stack.enter_context(socket.create_connection(listener.getsockname()))
            pairs.append((client, stack.enter_context(listener.accept()[0])))
        connections.listen_on(listener.getsockname()[1])
        connections.look()
        (greedy, taken), (other, _) = pairs
        for _ in range(16):
            greedy.sendall(bytes(MIB // 16))
            taken.recv(MIB // 16, socket.MSG_WAITALL)
        for _ in range(2):
            connections.look()

        assert connections.cut_off == 1
        assert greedy.recv(1) == b""
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(1)
