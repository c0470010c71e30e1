"""Where the shard map is agreed upon: one small interface, whatever keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engram_store.shard_map import ShardMap


class MapSourceFailed(Exception):
    """The map cannot be read or written now, or is none; says why in a sentence."""


class MapSource(Protocol):
    """Keeps the newest map of one cluster."""

    def follow(self) -> AsyncIterator[ShardMap | None]:
        """Yield what is there, None for no map yet, and from then on whatever replaces it.

        Ends with MapSourceFailed, to be begun again: the source is away, or what is there is no whole map.
        """
        ...

    async def compare_and_swap(self, expected_epoch: int, shard_map: ShardMap) -> bool:
        """Store a map if the one that is there has `expected_epoch`, 0 for none; tells whether it had.

        Raises MapSourceFailed. It may have been stored then: who follows sees it.
        """
        ...
