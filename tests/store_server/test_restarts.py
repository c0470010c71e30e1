"""How often, and after which pauses, a worker that dies is started again."""

from store_server.workers.restarts import MOST_DEATHS, STEADY_SECONDS, Restarts


def test_each_death_in_a_row_makes_the_pause_longer_until_there_is_little_hope():
    restarts = Restarts()

    found = [(restarts.delay_after(served_seconds=1.0), restarts.are_hopeless) for _ in range(MOST_DEATHS + 1)]

    assert found == [(0.1, False), (0.2, False), (0.4, False), (0.8, False), (5.0, True), (5.0, True)]


def test_a_worker_that_lived_for_long_begins_anew():
    restarts = Restarts()
    for _ in range(MOST_DEATHS):
        restarts.delay_after(served_seconds=1.0)

    assert restarts.delay_after(served_seconds=STEADY_SECONDS) == 0.1
    assert not restarts.are_hopeless
    assert restarts.delay_after(served_seconds=1.0) == 0.2


def test_explained_deaths_say_nothing_about_a_worker():
    restarts = Restarts()
    for _ in range(MOST_DEATHS - 1):
        restarts.delay_after(served_seconds=1.0)

    assert [restarts.delay_after(served_seconds=1.0, is_explained=True) for _ in range(3)] == [0.1, 0.1, 0.1]
    assert not restarts.are_hopeless
    restarts.delay_after(served_seconds=1.0)
    assert restarts.are_hopeless
    restarts.delay_after(served_seconds=STEADY_SECONDS, is_explained=True)
    assert not restarts.are_hopeless
