"""Who had more than its share of late."""

import pytest

from store_server.limits.shares import Shares


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def after_windows(clock, number, **costs):
    """Shares after windows in each of which clients cost as much."""
    shares = Shares(clock)
    for _ in range(number):
        for client, cost in costs.items():
            shares.count(client, cost)
        clock.now += 0.06
    for client in costs:
        shares.count(client, 0)
    return shares


def test_alone_nobody_has_too_much(clock):
    assert not after_windows(clock, 3, a=1000).has_more("a")


def test_who_has_far_more_than_others_has_too_much(clock):
    shares = after_windows(clock, 3, a=1000, b=30)

    assert shares.has_more("a")
    assert not shares.has_more("b")


def test_of_those_who_have_about_the_same_nobody_has_too_much(clock):
    shares = after_windows(clock, 3, a=1000, b=800, c=900)

    assert not any(map(shares.has_more, "abc"))


def test_what_was_long_ago_does_not_count(clock):
    shares = after_windows(clock, 3, a=1000, b=30)
    clock.now += 10
    shares.count("a", 1)

    assert not shares.has_more("a")
