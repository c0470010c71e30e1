"""Percentiles of times in buckets, beside the times themselves in their order."""

import math
import pickle
from fractions import Fraction

import numpy as np
import pytest

from store_server.commands.load.histogram import RELATIVE_ERROR, LatencyHistogram

PERCENTS = (0.1, 1, 25, 50, 90, 99, 99.9, 99.99, 100)


def times(count=20_000):
    """From nanoseconds to a minute."""
    return np.exp(np.random.default_rng(3).uniform(np.log(1e-8), np.log(60), count))


def one_by_one(seconds):
    histogram = LatencyHistogram()
    for value in seconds.tolist():
        histogram.record(value)
    return histogram


def all_at_once(seconds):
    histogram = LatencyHistogram()
    histogram.record_all(seconds)
    return histogram


def added_up(seconds):
    total = LatencyHistogram()
    for part in np.array_split(seconds, 7):
        total.add(pickle.loads(pickle.dumps(all_at_once(part))))  # noqa: S301  as between our own processes
    return total


@pytest.mark.parametrize("fill", [one_by_one, all_at_once, added_up])
def test_percentiles_are_those_of_the_times_up_to_the_stated_error(fill):
    histogram = fill(times())

    ranks = [math.ceil(Fraction(str(percent)) * 20_000 / 100) for percent in PERCENTS]
    exact = np.sort(np.rint(times() * 1e9))[np.array(ranks) - 1] / 1e9
    found = np.array([histogram.percentile(percent) for percent in PERCENTS])
    assert (found >= exact).all()
    assert (found <= exact * (1 + RELATIVE_ERROR)).all()
    assert histogram.count == 20_000
    assert histogram.mean == pytest.approx(times().mean())
    assert (histogram.least, histogram.most) == pytest.approx((times().min(), times().max()), abs=1e-9)


def test_ranks_are_not_rounded_up_by_floating_point():
    histogram = all_at_once(np.append(np.full(999, 0.001), 1.0))

    assert histogram.percentile(99.9) < 0.0011


def test_an_empty_histogram_has_no_percentiles():
    empty = LatencyHistogram()
    empty.record_all(np.empty(0))

    assert (empty.count, empty.percentile(50), empty.mean, empty.least, empty.most) == (0, None, None, None, None)


def test_memory_does_not_grow_with_the_number_of_times():
    assert len(pickle.dumps(all_at_once(times(1_000_000)))) < 500_000


def test_a_clock_that_went_back_counts_as_no_time():
    histogram = LatencyHistogram()
    histogram.record(-1e-9)

    assert histogram.most == 0
