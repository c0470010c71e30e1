"""Which replica is asked: the one that should answer first, few for one fetch, none in doubt where there is another."""

import random
from collections import Counter

import pytest

from engram_client.cluster.replica_choice import Standing, choose

ROW_BYTES = 1024
READY = Standing(is_ready=True, work_under_way=0.0, seconds_a_unit=0.001)


def chosen(rows_of_group, holders, standing=None, avoided=(), seed=0):
    standing = standing or {}
    return choose(
        rows_of_group,
        holders=holders,
        row_bytes=ROW_BYTES,
        standing=lambda number: standing.get(number, READY),
        dice=random.Random(seed),
        avoided=avoided,
    )


def test_the_node_with_less_to_do_is_asked():
    assert chosen({0: 10}, [(0, 1)], {0: READY._replace(work_under_way=3.0)}) == {0: 1}


def test_the_node_that_answers_sooner_is_asked_even_with_more_to_do():
    standing = {0: READY._replace(work_under_way=3.0), 1: READY._replace(seconds_a_unit=0.01)}

    assert chosen({0: 10}, [(0, 1)], standing) == {0: 0}


def test_equal_nodes_are_asked_in_turn():
    count = Counter(chosen({0: 10}, [(0, 1)], seed=seed)[0] for seed in range(400))

    assert 140 < count[0] < 260


def test_a_few_rows_do_not_go_to_more_nodes_than_need_be():
    holders = [(0, 1), (1, 2), (2, 1)]

    for seed in range(20):
        assert len(set(chosen({0: 2, 1: 2, 2: 2}, holders, seed=seed).values())) <= 2


def test_many_rows_are_divided_among_the_replicas():
    rows = 1000  # of 1 KiB: some 8 units for each group
    holders = [(0, 1), (1, 0), (0, 1), (1, 0)]

    assert Counter(chosen(dict.fromkeys(range(4), rows), holders).values()) == {0: 2, 1: 2}


@pytest.mark.parametrize("work", [0.0, 1e6])
def test_a_node_that_is_not_ready_is_asked_only_where_there_is_no_other(work):
    standing = {0: READY._replace(is_ready=False), 1: READY._replace(work_under_way=work)}

    assert chosen({0: 1, 1: 1}, [(0, 1), (0,)], standing) == {0: 1, 1: 0}


def test_avoided_nodes_are_asked_last_of_all():
    not_ready = READY._replace(is_ready=False)

    assert chosen({0: 1}, [(0, 1)], avoided=[0]) == {0: 1}
    assert chosen({0: 1}, [(0, 1)], {0: not_ready, 1: not_ready}, avoided=[0]) == {0: 1}
    assert chosen({0: 1}, [(0,)], avoided=[0]) == {0: 0}


def test_a_node_without_room_is_asked_before_one_that_is_draining_and_after_all_others():
    no_room, draining = READY._replace(has_room=False), READY._replace(is_draining=True)

    assert chosen({0: 1}, [(0, 1)], {0: no_room, 1: READY._replace(work_under_way=1e6)}) == {0: 1}
    assert chosen({0: 1}, [(0, 1)], {0: no_room, 1: draining}) == {0: 0}
    assert chosen({0: 1}, [(0,)], {0: no_room}) == {0: 0}
