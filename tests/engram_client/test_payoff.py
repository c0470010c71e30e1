"""When a step before the wire stands aside, and when it tries again."""

import pytest

from engram_client.payoff import Pace, Payoff


def fetch_windows(payoff, number, gain):
    """Fetch so many windows of 1,000 rows, 100 rows at a time; returns the share that the step took part in."""
    taken = 0
    for _ in range(number * 10):
        if payoff.takes_part(100):
            taken += 1
            payoff.record(100, saved_seconds=max(gain, 0), spent_seconds=max(-gain, 0))
    return taken / (number * 10)


def test_a_step_that_pays_always_takes_part():
    assert fetch_windows(Payoff(1000), 100, gain=0.001) == 1


def test_a_step_that_does_not_pay_takes_part_ever_more_rarely_but_never_gives_up():
    payoff = Payoff(1000)

    shares = [fetch_windows(payoff, windows, gain=-0.001) for windows in (64, 128, 256, 512, 512, 512)]

    assert shares[0] == pytest.approx(1 / 64, rel=0.1)
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == pytest.approx(1 / 512, rel=0.1)


def test_a_step_that_starts_to_pay_is_found_out_and_stays():
    payoff = Payoff(1000)
    fetch_windows(payoff, 4, gain=-0.001)
    assert payoff.resting

    fetch_windows(payoff, 62, gain=0.001)

    assert fetch_windows(payoff, 50, gain=0.001) == 1
    fetch_windows(payoff, 1, gain=-0.001)
    assert fetch_windows(payoff, 63, gain=-0.001) < 0.05  # and the next rest is a short one again


def test_only_the_second_half_of_a_window_is_judged_for_the_first_warms_the_step_up():
    payoff = Payoff(1000)
    for gain in [-1.0] * 5 + [0.001] * 5:
        payoff.record(100, saved_seconds=max(gain, 0), spent_seconds=max(-gain, 0))

    assert payoff.takes_part(100)


def test_one_fetch_larger_than_a_window_is_not_judged_before_it_is_warm():
    payoff = Payoff(1000)

    payoff.record(5000, saved_seconds=0.0, spent_seconds=1.0)
    assert payoff.takes_part(5000)

    payoff.record(5000, saved_seconds=0.0, spent_seconds=1.0)
    assert not payoff.takes_part(5000)


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


def test_the_pace_counts_time_once_however_many_fetches_share_it():
    clock = Clock()
    pace = Pace(clock)
    assert pace.seconds_a_row == 0
    first, second = pace.fetching(100), pace.fetching(300)

    first.__enter__()
    clock.seconds = 1.0
    second.__enter__()
    clock.seconds = 2.0
    first.__exit__(None, None, None)
    clock.seconds = 4.0
    second.__exit__(None, None, None)
    clock.seconds = 100.0  # nothing is under way
    with pace.fetching(100):
        clock.seconds = 101.0

    assert pace.seconds_a_row == 5 / 500


def test_the_pace_follows_a_wire_that_slows_down():
    clock = Clock()
    pace = Pace(clock)
    for seconds in [1.0] * 10 + [5.0] * 10:
        with pace.fetching(1 << 20):
            clock.seconds += seconds

    assert pace.seconds_a_row == pytest.approx(5 / (1 << 20), rel=0.01)


def test_a_step_that_loses_on_trial_is_tried_on_an_eighth_until_it_gains():
    payoff, shares = Payoff(1600), []
    for gain in (-1.0, 0.5, -1.0):
        payoff.record(100, saved_seconds=max(gain, 0), spent_seconds=max(-gain, 0))
        shares.append(payoff.share)

    assert shares == [1 / 8, 1, 1 / 8]


def test_a_step_that_has_paid_for_a_window_is_taken_whole_through_a_bad_patch():
    payoff = Payoff(1600)
    for gain in [-1.0] * 8 + [1.0] * 8 + [-1.0] * 4:
        payoff.record(100, saved_seconds=max(gain, 0), spent_seconds=max(-gain, 0))

    assert payoff.share == 1
