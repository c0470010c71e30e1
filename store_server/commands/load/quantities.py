"""Times, rates and shares as people write them: 5ms, 10s, 500/s, 2k/s, 5%."""

from __future__ import annotations

import re
from typing import Final

import typer

_NUMBER: Final = r"(?P<number>[0-9]{1,12}(\.[0-9]{1,9})?)"
_DURATION: Final = re.compile(rf"{_NUMBER} ?(?P<unit>us|ms|s|min|h)")
_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_RATE: Final = re.compile(rf"{_NUMBER} ?(?P<thousands>|k|M)/s")
_FACTORS: Final = {"": 1.0, "k": 1e3, "M": 1e6}
_SHARE: Final = re.compile(rf"{_NUMBER} ?%")
LONGEST_SECONDS: Final = 24 * 3600.0
HIGHEST_RATE: Final = 1e6


def parse_duration(text: str) -> float:
    """Return the seconds of a time such as 250us, 5ms, 10s or 2min, at most a day; raises typer.BadParameter."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"a time is a number with its unit, such as 5ms, 10s or 2min, got {text!r:.100}")
    seconds = float(found["number"]) * _SECONDS[found["unit"]]
    if seconds > LONGEST_SECONDS:
        raise typer.BadParameter(f"a time is at most {LONGEST_SECONDS / 3600:g}h, got {text!r:.100}")
    return seconds


def parse_positive_duration(text: str) -> float:
    """Return the seconds of a time above zero; raises typer.BadParameter."""
    seconds = parse_duration(text)
    if seconds == 0:
        raise typer.BadParameter(f"must be longer than no time at all, got {text!r:.100}")
    return seconds


def parse_rate(text: str) -> float:
    """Return the fetches a second of a rate such as 500/s or 2k/s, at most a million; raises typer.BadParameter."""
    found = _RATE.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"a rate is a number of fetches a second, such as 500/s or 2k/s, got {text!r:.100}")
    rate = float(found["number"]) * _FACTORS[found["thousands"]]
    if not 0 < rate <= HIGHEST_RATE:
        raise typer.BadParameter(f"a rate is above 0/s and at most {HIGHEST_RATE:,.0f}/s, got {text!r:.100}")
    return rate


def parse_share(text: str) -> float:
    """Return a share such as 5% as a fraction, above 0 and at most 1; raises typer.BadParameter."""
    found = _SHARE.fullmatch(text.strip())
    if found is None or not 0 < float(found["number"]) <= 100:
        raise typer.BadParameter(f"a share is above 0% and at most 100%, such as 5%, got {text!r:.100}")
    return float(found["number"]) / 100
