"""Histograms of ours, and what Prometheus is shown of them."""

import math

from store_server.observing.buckets import buckets_of
from store_server.observing.durations import BOUNDS_SECONDS, Durations


def test_what_took_as_long_as_a_bound_is_below_it_and_what_took_longer_is_not():
    durations = Durations()
    durations.add(0.001)
    durations.add(math.nextafter(0.001, 1))

    counts = dict(zip(BOUNDS_SECONDS, durations.cumulative(), strict=False))

    assert (counts[0.0005], counts[0.001], counts[0.0025], counts[10.0]) == (0, 1, 2, 2)


def test_the_last_bucket_has_all_and_the_sum_is_of_all():
    durations = Durations()
    durations.add(0.25, 3)
    durations.add(1000.0)

    buckets, seconds = buckets_of(durations)

    assert buckets[-1] == ("+Inf", 4)
    assert buckets[-2] == ("10.0", 3)
    assert seconds == 1000.75
