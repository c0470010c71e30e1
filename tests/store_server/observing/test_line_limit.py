"""How many lines callers can cause in a log."""

from store_server.observing.line_limit import LineLimit


def test_lines_beyond_those_of_a_second_are_left_out_and_the_next_one_says_how_many():
    now = 100.0
    limit = LineLimit(2, lambda: now)

    taken = [limit.take() for _ in range(5)]
    now = 101.0
    later = [limit.take() for _ in range(3)]

    assert taken == [0, 0, None, None, None]
    assert later == [3, 0, None]
