"""Where the shard map is agreed upon: one small interface, whatever keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engram_store.shard_map import ShardMap


class MapSourceFailed(Exception):
    """The map cannot be read or written now; says why in a sentence."""


class MapSource(Protocol):
    """Keeps the newest map of one cluster."""

    def follow(self) -> AsyncIterator[ShardMap]:
        """Yield the newest map, and from then on each that replaces it. Ends with MapSourceFailed, to be begun again.

        A map that is not whole is no map: it is named in the log, and the one before it stays.
        """
        ...

    async def compare_and_swap(self, expected_epoch: int, shard_map: ShardMap) -> bool:
        """Store a map if the one that is there has `expected_epoch`, 0 for none; tells whether it had.

        Raises MapSourceFailed.
        """
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...
