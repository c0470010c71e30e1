"""What callers say with each call: which parts of the protocol they know that came after its first release.

A caller that says nothing is answered as one of the first release, in ways that it understands. The words are never
given another meaning, and a node passes over those that it does not know: what is added later is a word more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

KNOWS_KEY: Final = "engram-knows"
OVERLOADED: Final = "overloaded"
"""The reason OVERLOADED of status RESOURCE_EXHAUSTED, which would else mean that a request is too large."""
READS_NOTHING: Final = "reads-nothing"
"""The reason READS_NOTHING of status DEADLINE_EXCEEDED, which would else mean that time is up."""
KNOWS: Final = ((KNOWS_KEY, f"{OVERLOADED}, {READS_NOTHING}"),)
"""Metadata of every call of ours. It never varies, so HTTP/2 sends a byte of it after the first call."""


def known_by(metadata: Iterable[tuple[str, str | bytes]] | None) -> frozenset[str]:
    """Return the words in the metadata of a call."""
    values = [str(value) for key, value in metadata or () if key == KNOWS_KEY]
    return frozenset(word.strip() for value in values for word in value.split(","))
