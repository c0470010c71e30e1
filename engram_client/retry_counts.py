"""How often rows were asked for again."""

from __future__ import annotations

from engram_client.errors import Overloaded


class RetryCounts:
    """Requests for rows that were sent again, by why the one before gave none. Any thread may read.

    Each request to one node counts once: rows of a fetch that are then divided among two nodes are two retries. A hedge
    is none, as nothing had failed; neither is what only describes tables or asks for the shard map.
    """

    __slots__ = ("after_failures", "after_refusals")

    def __init__(self) -> None:
        self.after_failures = 0
        """After a node was out of reach, too slow, or did not have the rows."""
        self.after_refusals = 0
        """After a node had too much to do, and said so."""

    def count(self, failure: Exception, requests: int = 1) -> None:
        """Take note of requests that are sent because of a failure."""
        if isinstance(failure, Overloaded):
            self.after_refusals += requests
        else:
            self.after_failures += requests
