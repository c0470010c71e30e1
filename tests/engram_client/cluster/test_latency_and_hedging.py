"""What is remembered of how long answers take, when a request is hedged by it, and how often that may be."""

import math

import pytest

from engram_client.cluster.hedging import HedgeBudget, HedgeSettings, hedge_delay
from engram_client.cluster.latency import NodeLatency, UsualLatency, units
from engram_client.cluster.patience import PatienceBudget, patience


def usual_of(seconds, work=1.0):
    usual = UsualLatency()
    for each in seconds:
        usual.record(each, work)
    return usual


def test_work_is_one_unit_and_another_for_each_128_kib():
    assert units(0) == 1.0
    assert units(256 << 10) == 3.0


def test_a_few_slow_answers_among_many_hardly_count_and_many_soon_do():
    now_and_then, from_now_on = NodeLatency(), NodeLatency()
    for latency in (now_and_then, from_now_on):
        for _ in range(50):
            latency.record(0.001, 1.0, now=0.0)
    now_and_then.record(0.050, 1.0, now=0.0)
    for _ in range(10):
        now_and_then.record(0.001, 1.0, now=0.0)
        from_now_on.record(0.050, 1.0, now=0.0)

    assert now_and_then.remembered < 0.0012
    assert from_now_on.remembered > 0.01


def test_answers_count_by_the_work_in_them():
    latency = NodeLatency()

    latency.record(0.010, 5.0, now=0.0)

    assert latency.remembered == pytest.approx(0.002)


def test_what_is_remembered_of_a_node_fades_to_what_is_usual():
    latency = NodeLatency()
    assert math.isnan(latency.remembered)
    assert latency.seconds(0.001, now=0.0) == 0.001

    latency.record(0.1, 1.0, now=10.0)

    assert latency.seconds(0.001, now=10.0) == pytest.approx(0.1)
    assert latency.seconds(0.001, now=15.0) == pytest.approx(0.001 * 100 ** (1 / math.e))
    assert latency.seconds(0.001, now=100.0) == pytest.approx(0.001, rel=1e-3)


def test_an_answer_that_took_longer_than_all_that_was_known_is_believed():
    latency = NodeLatency()
    latency.record_at_least(0.001, 1.0, now=0.0)
    assert latency.remembered == pytest.approx(0.001)
    assert not latency.is_recent(now=0.0)

    latency.record(0.1, 1.0, now=0.0)

    assert latency.remembered == pytest.approx(0.1)
    assert latency.is_recent(now=0.0)


def test_beside_recent_answers_one_that_was_not_waited_for_hardly_counts():
    latency = NodeLatency()
    latency.record(0.001, 1.0, now=0.0)

    latency.record_at_least(0.050, 1.0, now=0.0)

    assert latency.remembered < 0.0015
    assert latency.is_recent(now=0.0)


def test_quantiles_are_those_of_answers_of_about_the_same_size():
    usual = usual_of(range(1, 101))
    for seconds in range(1001, 1101):
        usual.record(seconds, 8.0)

    assert usual.quantile(1.0, 0.95) in range(94, 98)
    assert usual.quantile(8.5, 0.5) in range(1049, 1053)
    assert usual.quantile(100.0, 0.5) is None


def test_only_late_answers_are_known_after_a_while():
    usual = usual_of([5.0] * 300 + [1.0] * 300)

    assert usual.quantile(1.0, 0.99) == 1.0


def test_nothing_is_said_of_a_few_answers():
    assert usual_of([1.0] * 10).quantile(1.0, 0.5) is None


def test_a_request_is_hedged_when_most_answers_would_have_come():
    settings = HedgeSettings(least_delay_seconds=0.002)

    assert hedge_delay(usual_of([]), 1.0, settings) is None
    assert hedge_delay(usual_of([0.010] * 50), 1.0, settings) == 0.010
    assert hedge_delay(usual_of([0.0001] * 50), 1.0, settings) == 0.002
    assert hedge_delay(usual_of([0.010] * 90 + [0.020] * 10), 1.0, settings) == 0.020
    assert hedge_delay(usual_of([0.010] * 90 + [0.500] * 10), 1.0, settings) == pytest.approx(0.030)
    assert hedge_delay(usual_of([0.010] * 50), 1.0, HedgeSettings(budget=0.0)) is None


def test_patience_is_a_multiple_of_what_is_usual_within_its_limits():
    settings = HedgeSettings(shortest_patience_seconds=0.1, longest_patience_seconds=2.0)

    assert patience(usual_of([]), 1.0, 0.001, settings) == 2.0
    assert patience(usual_of([0.02] * 50), 1.0, 0.001, settings) == pytest.approx(0.2)
    assert patience(usual_of([0.0001] * 50), 1.0, 0.001, settings) == 0.1
    assert patience(usual_of([0.5] * 50), 1.0, 0.001, settings) == 2.0


def test_answers_that_usually_take_long_are_waited_for():
    settings = HedgeSettings(longest_patience_seconds=2.0)

    assert patience(usual_of([5.0] * 50), 1.0, 0.001, settings) == 10.0
    assert patience(usual_of([]), 8192.0, 0.001, settings) == pytest.approx(81.92)


def test_of_many_requests_a_small_share_is_given_up_and_of_few_the_first_ones():
    few, many = PatienceBudget(), PatienceBudget()
    for _ in range(10_000):
        many.count_request()

    assert sum(few.take() for _ in range(100)) == 10
    assert sum(many.take() for _ in range(100)) == 50
    given_up = 0
    for _ in range(1000):
        many.count_request()
        given_up += many.take()
    assert given_up <= 50


def test_hedges_never_exceed_their_share_of_the_requests():
    budget = HedgeBudget(HedgeSettings(budget=0.05))

    for _ in range(1000):
        budget.count_request()
        while budget.take(1):
            assert budget.hedges <= 0.05 * budget.requests + 1e-9

    assert budget.hedges in (49, 50)


def test_hedges_are_not_saved_without_limit():
    budget = HedgeBudget(HedgeSettings(budget=0.05))
    for _ in range(100_000):
        budget.count_request()

    assert sum(budget.take(1) for _ in range(1000)) == 50


def test_a_hedge_of_several_requests_is_sent_whole_or_not_at_all():
    budget = HedgeBudget(HedgeSettings(budget=0.5))
    for _ in range(4):
        budget.count_request()

    assert not budget.take(3)
    assert budget.take(2)
    assert not budget.take(1)


def test_where_too_many_want_a_hedge_all_wait_longer_until_fewer_do():
    budget = HedgeBudget(HedgeSettings(budget=0.05))

    def ask(share_of_slow, number=2000):
        for each in range(number):
            budget.count_request()
            if each % 100 < share_of_slow * 100:
                budget.take(1)

    ask(0.03)
    assert budget.delay_factor == 1.0
    ask(0.50)
    assert budget.delay_factor > 2.0
    ask(0.03, number=10_000)
    assert budget.delay_factor == 1.0
