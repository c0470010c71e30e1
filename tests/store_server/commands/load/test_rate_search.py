"""The search for the highest rate, on servers that break at a known one."""

import pytest

from store_server.commands.load.rate_search import HIGHEST_RATE, RateSearch


def found_for(capacity, first, tolerance):
    search, tried = RateSearch(first=first, tolerance=tolerance), []
    while (rate := search.next_rate()) is not None:
        tried.append(rate)
        search.tried(rate, held=rate <= capacity)
    return search, tried


@pytest.mark.parametrize("capacity", [1.5, 99, 100, 101, 12_345, 400_000])
@pytest.mark.parametrize("tolerance", [0.5, 0.05, 0.001])
def test_the_rate_found_holds_and_one_above_it_by_the_tolerance_does_not(capacity, tolerance):
    search, tried = found_for(capacity, 100, tolerance)

    assert search.highest_held <= capacity < search.lowest_failed
    assert search.lowest_failed <= search.highest_held * (1 + tolerance)
    assert len(tried) < 40
    assert len(set(tried)) == len(tried)


def test_a_server_that_holds_nothing_has_no_rate():
    search, tried = found_for(0.5, 100, 0.05)

    assert search.highest_held is None
    assert tried[-1] == 1


def test_a_server_without_limits_ends_the_search_at_the_highest_rate():
    search, _ = found_for(float("inf"), 100, 0.05)

    assert (search.highest_held, search.lowest_failed) == (HIGHEST_RATE, None)
