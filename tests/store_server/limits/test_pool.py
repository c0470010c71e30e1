"""An amount that clients share."""

import pytest

from store_server.limits.pool import Pool


def taken_by(pool, client):
    """How much a client can take, one by one."""
    number = 0
    while pool.fits(client, 1):
        pool.take(client, 1)
        number += 1
    return number


def test_one_client_alone_has_half_and_the_next_ones_half_of_the_rest():
    pool = Pool(100)

    assert [taken_by(pool, client) for client in "abc"] == [50, 25, 13]


def test_who_has_nothing_gets_whatever_is_left():
    pool = Pool(100)
    pool.take("a", 50)

    assert pool.fits("b", 50)
    assert not pool.fits("a", 50)
    assert not pool.fits("b", 51)


def test_what_is_given_back_can_be_taken_again():
    pool = Pool(100)
    pool.take("a", 50)
    pool.give("a", 50)

    assert pool.taken == 0
    assert taken_by(pool, "b") == 50


@pytest.mark.parametrize("clients", [1, 2, 3, 9])
def test_a_pool_is_as_full_as_the_client_is_near_to_being_refused(clients):
    pool, names = Pool(9000), [str(number) for number in range(clients)]
    found = []
    while pool.fits(names[-1], 1):
        for name in names:
            pool.take(name, 1)
        found.append(pool.fullness)

    assert found == sorted(found)
    assert found[0] < 0.01
    assert 0.99 <= found[-1] <= 1


def test_a_pool_full_of_many_small_clients_is_full_though_none_is_near_its_limit():
    pool = Pool(100)
    for number in range(98):
        pool.take(str(number), 1)

    assert pool.fullness == 0.98
    pool.take("last", 2)
    assert pool.fullness == 1
