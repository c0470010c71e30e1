"""The short form of the comparison with and without hedging."""

from chaos.slow_replica import SLOW_SECONDS, compare_hedging


def test_replies_that_are_held_back_are_hedged_within_the_budget_and_bring_the_right_rows(tmp_path):
    # Of 300 fetches without hedges, some 150 go to the node of which one reply of twenty is held back. The budget is of
    # requests, and is kept to the last of them however busy cores are; what is due beyond a few fetches waits there.
    found = compare_hedging(
        tmp_path, rounds=1, warm_up_seconds=0.5, seconds=1.5, fetches_a_second=200, most_under_way=16
    )

    assert found.is_right
    assert found.without.p99_ms >= 1e3 * SLOW_SECONDS
    assert found.with_hedges.hedges_percent > 0
