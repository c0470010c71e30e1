"""What is concluded from fetches, on made-up ones."""

import dataclasses

import pytest
from chaos.fetches import RIGHT, WRONG, Asked, Fetch
from chaos.findings import Moment, find

ASKED = Asked(first=1000, hedges=33, after_failures=100, trials=5)
SLOW = 0.5


def steady(seconds=30, a_second=10, slow_at=()):
    """Fetches of 10 ms each from time 0 on, but for slow ones that are due at certain times."""
    dues = [number / a_second for number in range(seconds * a_second)]
    return [Fetch(due, SLOW if due in slow_at else 0.01, RIGHT) for due in dues]


def found(fetches, *moments, calm_from=0.0):
    return find("made up", "none", fetches, ASKED, calm_from, moments or [Moment("event", 20.0)])


def test_slow_ones_count_by_the_second_from_the_first_moment_on():
    findings = found(steady(slow_at=(3.5, 20.1, 20.2, 22.0)))

    assert findings.calm_p50_ms == 10
    assert findings.slow_by_second == {-17: 1, 0: 2, 2: 1}
    assert (findings.calm_slow_percent, findings.calm_slow_in_worst_second) == (0.5, 1)


def test_calm_is_there_again_after_the_last_second_with_more_slow_ones_than_the_worst_of_the_calm():
    findings = found(steady(slow_at=(3.5, 20.1, 20.2, 22.0)))

    (after,) = findings.after
    assert after.slow == 3
    assert after.last_slow_ended_after_seconds == pytest.approx(2.5)
    assert after.calm_again_after_seconds == pytest.approx(0.7)
    assert findings.calm_within_2_s


def test_slow_ones_long_after_are_found_where_the_calm_had_none():
    findings = found(steady(slow_at=(24.0,)))

    assert findings.after[0].calm_again_after_seconds == pytest.approx(4.5)
    assert not findings.calm_within_2_s


def test_each_moment_answers_for_what_was_due_until_the_next():
    findings = found(steady(slow_at=(20.5, 25.1)), Moment("cut", 20.0), Moment("mended", 25.0))

    assert [(after.what, after.slow) for after in findings.after] == [("cut", 1), ("mended", 1)]
    assert findings.after[1].last_slow_ended_after_seconds == pytest.approx(0.6)


def test_what_was_due_before_the_calm_is_no_part_of_it():
    findings = found(steady(slow_at=(1.0, 2.0)), calm_from=5.0)

    assert findings.calm_slow_percent == 0
    assert findings.slow_by_second == {}


def test_failed_and_wrong_fetches_are_told_apart_and_neither_is_right():
    fetches = steady()
    fetches[5] = fetches[5]._replace(outcome=WRONG)
    fetches[250] = fetches[250]._replace(outcome="Unavailable: why")

    findings = found(fetches)

    assert (findings.wrong, findings.failed, findings.failures) == (1, 1, ["Unavailable: why"])
    assert not findings.is_right
    assert not dataclasses.replace(findings, failed=0).is_right
    assert not dataclasses.replace(findings, wrong=0).is_right
    assert found(steady()).is_right


def test_more_hedges_than_the_budget_allows_are_not_right():
    findings = found(steady())

    assert dataclasses.replace(findings, hedges_percent=5.0).is_right
    assert not dataclasses.replace(findings, hedges_percent=5.01).is_right


def test_hedges_are_a_share_of_the_other_requests_of_fetches_and_extra_ones_are_all_but_the_first():
    findings = found(steady())

    assert findings.hedges_percent == 3
    assert findings.extra_requests_percent == 13.8
