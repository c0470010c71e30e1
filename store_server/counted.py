"""Numbers of things in words."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """Return how many there are: 1 shard, 1,024 shards; `many` is by default `one` with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def is_or_are(number: int) -> str:
    """Return the word for so many."""
    return "is" if number == 1 else "are"
