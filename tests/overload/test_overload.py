"""Overload, for seconds: what holds on any machine. How slow and how fair it was is told by `make overload`."""

import pytest
from overload.attempts import Tries
from overload.findings import Bar, Measured, least_beside_refusals, seconds_to_recover
from overload.scenarios import LEAST_BESIDE_REFUSALS, greedy, overload


def figure(bars, name):
    return next(bar.figure for bar in bars if name in bar.name)


def test_a_node_that_is_asked_five_times_what_it_can_give_answers_rightly_or_refuses_and_goes_on(tmp_path):
    bars = overload(tmp_path, 3.0, clients=4)

    assert figure(bars, "wrong rows") == 0
    assert figure(bars, "failures that are no refusals") == 0
    assert LEAST_BESIDE_REFUSALS <= figure(bars, "beside each refused") < float("inf")


def test_a_modest_client_is_served_beside_a_greedy_one(tmp_path):
    bars = greedy(tmp_path, 3.0, from_disk=True)

    assert figure(bars, "wrong rows") == 0
    assert figure(bars, "of a fair share") > 0.2  # by turns of connections it would have a tenth of that


def tries(*of):
    found = Tries()
    for began, took, ended in of:
        found.began.append(began)
        found.took.append(took)
        found.ended.append(ended)
    return found


def test_goodput_counts_right_answers_that_came_in_time():
    measured = Measured([tries((0.0, 0.5, "right"), (0.0, 1.5, "right")), tries((0.2, 0.1, "refused"))])

    assert measured.per_second(0.0, 1.0) == 1
    assert measured.number("refused") == 1


def test_how_long_refusals_took_is_no_latency_of_answers():
    measured = Measured([tries(*[(0.0, 0.1, "right")] * 100, (0.0, 9.0, "refused"))])

    assert measured.p99() == pytest.approx(0.1)


def test_what_a_node_had_accepted_when_it_refused_is_what_was_under_way_beside_it():
    accepted = [(0.0, 1.0, "right"), (0.4, 1.0, "right"), (0.9, 1.0, "right"), (2.0, 1.0, "right")]
    refused = [(0.5, 0.1, "refused"), (1.2, 0.1, "refused"), (2.5, 0.1, "refused")]

    assert least_beside_refusals(Measured([tries(*accepted, *refused[:2])])) == 2
    assert least_beside_refusals(Measured([tries(*accepted), tries(*refused)])) == 1
    assert least_beside_refusals(Measured([tries(*accepted)])) == float("inf")


@pytest.mark.parametrize(("slow_until", "recovered"), [(0.0, 0.0), (1.4, 1.5), (99.0, float("inf"))])
def test_a_node_has_recovered_once_answers_take_no_longer_than_twice_as_long_as_before(slow_until, recovered):
    times = [number * 0.1 for number in range(210)]
    measured = Measured([tries(*[(began, 1.0 if began < slow_until else 0.01, "right") for began in times])])

    assert seconds_to_recover(measured, 0.0, calm_p99=0.02) == recovered


def test_a_bar_is_met_or_missed():
    assert Bar("goodput", 0.8, 0.8, is_least=True).is_met
    assert "MISSED" in Bar("p99", 5.1, 5.0).line()
