"""How long nodes have been away, and what that is not counted by."""

from store_server.cluster.next_map.away_clock import AwayClock

ALL = ("a", "b", "c")


def test_time_is_counted_from_the_first_look_that_missed_a_node():
    clock = AwayClock()

    assert clock.look({"a", "b", "c"}, ALL, 100.0) == {}
    assert clock.look({"a", "b"}, ALL, 107.0) == {"c": 0.0}
    assert clock.look({"a"}, ALL, 110.0) == {"b": 0.0, "c": 3.0}
    assert clock.look({"a"}, ALL, 110.5) == {"b": 0.5, "c": 3.5}


def test_time_in_which_nobody_could_be_seen_does_not_count():
    clock = AwayClock()
    clock.look({"a", "b"}, ALL, 0.0)
    clock.look({"a", "b"}, ALL, 2.0)

    assert clock.look(None, ALL, 3.0) == {"c": 2.0}
    assert clock.look(None, ALL, 1000.0) == {"c": 2.0}
    assert clock.look({"a"}, ALL, 1001.0) == {"b": 0.0, "c": 2.0}
    assert clock.look({"a"}, ALL, 1002.0) == {"b": 1.0, "c": 3.0}


def test_who_comes_back_begins_anew_and_who_is_not_expected_is_not_counted():
    clock = AwayClock()
    clock.look({"a", "b"}, ALL, 0.0)
    clock.look({"a", "b"}, ALL, 5.0)

    assert clock.look({"a", "c"}, ALL, 6.0) == {"b": 0.0}
    assert clock.look({"a", "x"}, ALL, 7.0) == {"b": 1.0, "c": 0.0}
    assert clock.look({"a"}, ("a", "c"), 8.0) == {"c": 1.0}
    assert clock.look({"a"}, ALL, 9.0) == {"b": 0.0, "c": 2.0}
