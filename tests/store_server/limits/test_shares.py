"""Whether somebody had more than its share of late."""

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


def test_one_client_alone_has_its_share(clock):
    assert not after_windows(clock, 3, a=1000).are_uneven


def test_shares_are_uneven_where_one_has_far_more_than_others(clock):
    assert after_windows(clock, 3, a=1000, b=30).are_uneven


def test_shares_are_even_where_all_have_about_the_same(clock):
    assert not after_windows(clock, 3, a=1000, b=800, c=900).are_uneven


def test_what_was_long_ago_does_not_count(clock):
    shares = after_windows(clock, 3, a=1000, b=30)
    clock.now += 10
    shares.count("a", 1)

    assert not shares.are_uneven
