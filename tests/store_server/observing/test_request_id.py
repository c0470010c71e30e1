"""The names of requests."""

import pytest

from store_server.observing.request_id import request_id_of


def test_the_id_of_a_caller_is_kept():
    assert request_id_of([("other", "x"), ("x-request-id", "7f3a:step-12")]) == "7f3a:step-12"


@pytest.mark.parametrize("said", ["", "a b", "line\nbreak", "x" * 129, "é", b"bytes", "quote'"])
def test_an_id_that_no_log_should_hold_is_replaced(said):
    made = request_id_of([("x-request-id", said)])

    assert made != said
    assert made.isascii()
    assert 0 < len(made) < 40


def test_made_ids_differ():
    assert request_id_of(None) != request_id_of(())
