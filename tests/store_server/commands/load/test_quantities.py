"""Times, rates and shares with their units."""

import pytest
import typer

from store_server.commands.load.quantities import (
    parse_duration,
    parse_positive_duration,
    parse_rate,
    parse_share,
)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("5ms", 0.005), ("250us", 250e-6), ("1.5 min", 90), ("2h", 7200), ("0s", 0)]
)
def test_times_have_units(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "rate"), [("500/s", 500), ("2k/s", 2000), ("0.5/s", 0.5), ("1M/s", 1e6)])
def test_rates_are_fetches_a_second(text, rate):
    assert parse_rate(text) == rate


def test_shares_are_per_cent():
    assert parse_share("5%") == 0.05


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_duration, "10"),
        (parse_duration, "-1s"),
        (parse_duration, "25h"),
        (parse_positive_duration, "0ms"),
        (parse_rate, "500"),
        (parse_rate, "0/s"),
        (parse_rate, "2M/s"),
        (parse_share, "0.05"),
        (parse_share, "0%"),
        (parse_share, "101%"),
    ],
)
def test_what_has_no_unit_or_is_past_a_limit_is_refused_with_the_value(parse, text):
    with pytest.raises(typer.BadParameter, match=f"'{text}'"):
        parse(text)
