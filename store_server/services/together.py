"""Which of the lookups that came in one message are answered in one message."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from engram_store.codec import Request

_MOST_REPLY_BYTES: Final = 2 << 20  # of rows in a message to several lookups: what a piece of a large fetch has
_LONGEST_NAMES: Final = 256  # characters of a table and a version together; no table has a name that is longer


class Together(NamedTuple):
    """Lookups to answer in one message with `reply_bytes` of rows; None if not known before a disk is asked."""

    requests: list[Request]
    reply_bytes: int | None


def divided(requests: Iterable[Request], reply_bytes: Callable[[Request], int | None]) -> list[Together]:
    """Put together, in order, what is no more than a message should hold; whatever may be refused is left alone."""
    found: list[Together] = []
    for request in requests:
        num_bytes = reply_bytes(request) if has_names_of_a_table(request) else None
        before = found[-1].reply_bytes if found else None
        if before is not None and num_bytes is not None and before + num_bytes <= _MOST_REPLY_BYTES:
            found[-1] = Together([*found[-1].requests, request], before + num_bytes)
        else:
            found.append(Together([request], num_bytes))
    return found


def has_names_of_a_table(request: Request) -> bool:
    """Tell whether there may be such a table and version."""
    return len(request.table) + len(request.version) <= _LONGEST_NAMES
