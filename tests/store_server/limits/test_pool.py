"""An amount that clients share."""

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
