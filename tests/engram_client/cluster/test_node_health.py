"""A node that fails is left out at once, is tried after growing pauses, and has to prove itself before it returns."""

from engram_client.cluster.node_health import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, NodeHealth, is_outlier


def trials_until_ready(health, now):
    number = 0
    while not health.ready:
        health.tried(is_good=True, now=now)
        number += 1
    return number


def test_a_node_is_left_out_once_and_returns_after_good_trials():
    health = NodeHealth()
    assert health.ready

    assert health.leave_out(now=1.0)
    assert not health.ready
    assert not health.leave_out(now=1.1)
    assert trials_until_ready(health, now=1.2) == 3


def test_a_bad_trial_begins_the_count_anew():
    health = NodeHealth()
    health.leave_out(now=0.0)
    health.tried(is_good=True, now=0.1)
    health.tried(is_good=True, now=0.2)
    health.tried(is_good=False, now=0.3)

    assert trials_until_ready(health, now=0.4) == 3


def test_pauses_double_up_to_a_limit_while_trials_fail():
    health = NodeHealth()
    health.leave_out(now=0.0)
    assert health.pause == FIRST_PAUSE_SECONDS

    pauses = []
    for _ in range(20):
        health.tried(is_good=False, now=0.0)
        pauses.append(health.pause)

    assert pauses[:3] == [2 * FIRST_PAUSE_SECONDS, 4 * FIRST_PAUSE_SECONDS, 8 * FIRST_PAUSE_SECONDS]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS


def test_a_node_that_goes_in_and_out_needs_more_good_trials_until_it_held_out_for_long():
    health = NodeHealth()
    needed = []
    for number in range(5):
        health.leave_out(now=float(number))
        needed.append(trials_until_ready(health, now=float(number)))
    assert needed == [3, 6, 9, 10, 10]

    health.leave_out(now=1000.0)

    assert trials_until_ready(health, now=1001.0) == 3


def test_a_node_that_goes_in_and_out_is_tried_after_longer_pauses_each_time():
    health = NodeHealth()
    pauses = []
    for number in range(12):
        health.leave_out(now=float(number))
        pauses.append(health.pause)
        trials_until_ready(health, now=float(number))

    assert pauses[:3] == [FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, 4 * FIRST_PAUSE_SECONDS]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS


def test_a_few_slow_answers_among_many_do_not_make_a_slow_node():
    health = NodeHealth()

    assert not any(health.is_slow_by_now(was_slow=number % 4 == 0) for number in range(1000))
    assert [health.is_slow_by_now(was_slow=True) for _ in range(5)] == [False, False, False, True, True]


def test_an_outlier_is_several_times_slower_and_noticeably_so():
    assert is_outlier(0.2, usual=0.001)
    assert not is_outlier(0.004, usual=0.001)  # twice nothing is nothing
    assert not is_outlier(0.2, usual=0.1)
    assert not is_outlier(float("nan"), usual=0.001)
