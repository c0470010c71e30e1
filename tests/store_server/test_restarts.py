"""How often, and after which pauses, a worker that dies is started again."""

from store_server.workers.restarts import MOST_DEATHS, STEADY_SECONDS, Restarts


def test_each_death_in_a_row_makes_the_pause_longer_until_there_is_none():
    restarts = Restarts()

    delays = [restarts.delay_after(lived_seconds=1.0) for _ in range(MOST_DEATHS)]

    assert delays == [0.1, 0.2, 0.4, 0.8, None]


def test_a_worker_that_lived_for_long_begins_anew():
    restarts = Restarts()
    for _ in range(MOST_DEATHS - 1):
        restarts.delay_after(lived_seconds=1.0)

    assert restarts.delay_after(lived_seconds=STEADY_SECONDS) == 0.1
    assert restarts.delay_after(lived_seconds=1.0) == 0.2
