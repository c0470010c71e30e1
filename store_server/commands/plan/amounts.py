"""Rates and shares as people write them (1M, 250k/s, 0.674, 67.4%), and figures as they read them."""

from __future__ import annotations

import re
from typing import Final

import typer

_NUMBER: Final = r"(?P<number>[0-9]{1,15}(\.[0-9]{1,9})?)"
_AMOUNT: Final = re.compile(rf"{_NUMBER} ?(?P<thousands>|k|M|G)(/s)?")
_FACTORS: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_SHARE: Final = re.compile(rf"{_NUMBER} ?(?P<percent>%?)")
MOST_AMOUNT: Final = 1e12


def parse_amount(text: str) -> float:
    """Return a number such as 0.35, 1000000, 1M or 250k/s, above 0 and at most 1e12; raises typer.BadParameter."""
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"must be a number above 0, such as 0.35, 250k or 1M, got {text!r:.100}")
    amount = float(found["number"]) * _FACTORS[found["thousands"]]
    if not 0 < amount <= MOST_AMOUNT:
        raise typer.BadParameter(f"must be above 0 and at most {MOST_AMOUNT:,.0f}, got {text!r:.100}")
    return amount


def parse_share(text: str) -> float:
    """Return a share such as 0.674 or 67.4%, above 0 and at most 1; raises typer.BadParameter."""
    found = _SHARE.fullmatch(text.strip())
    share = float(found["number"]) / (100 if found["percent"] else 1) if found else 0.0
    if not 0 < share <= 1:
        raise typer.BadParameter(f"a share is above 0 and at most 1, such as 0.674 or 67.4%, got {text!r:.100}")
    return share


def gigabytes(num_bytes: float) -> str:
    """Return bytes for people, in units of 10^9."""
    return f"{num_bytes / 1e9:,.6g} GB"


def gigabits(bits_per_second: float) -> str:
    """Return bits a second for people, in units of 10^9."""
    return f"{bits_per_second / 1e9:,.4g} Gbit/s"


def count(number: float) -> str:
    """Return a number of things for people: whole where it is large."""
    return f"{number:,.0f}" if number >= 1000 else f"{number:,.4g}"
