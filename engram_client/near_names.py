"""What who misspelt a name may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final

_MOST_LIKE: Final = 3
_MOST_LISTED: Final = 10


def instead_of(name: str, there: Sequence[str]) -> str:
    """Return the names that are like `name`, which is not `there`, or else those that are, for an error message."""
    if not there:
        return "there is none that you may read"
    like = difflib.get_close_matches(name, there, _MOST_LIKE)
    if like:
        return f"did you mean {' or '.join(map(repr, like))}?"
    listed = ", ".join(map(repr, there[:_MOST_LISTED]))
    more = len(there) - _MOST_LISTED
    return f"there are {listed} and {more} more" if more > 0 else f"there is {listed}"
