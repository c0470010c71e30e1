"""Says in a node's log which other nodes go away, and which come."""

from __future__ import annotations

from collections.abc import Collection

import structlog

log = structlog.get_logger()


class ComingsAndGoings:
    """What is seen by the node with `own_id`."""

    def __init__(self, own_id: str) -> None:
        self._own_id = own_id
        self._seen: set[str] | None = None

    def see(self, present: Collection[str]) -> None:
        """Take note of who is there, by id; of who was there at first nothing is said."""
        before, self._seen = self._seen, set(present) - {self._own_id}
        if before is None:
            return
        for node in sorted(before - self._seen):
            log.warning("another node is away", node=node)
        for node in sorted(self._seen - before):
            log.info("another node is there", node=node)
