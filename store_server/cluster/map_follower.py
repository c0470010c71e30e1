"""Keeps a node's map as new as its source has it, for as long as the node runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

from store_server.cluster.map_source import MapSourceFailed

if TYPE_CHECKING:
    from store_server.cluster.known_map import KnownMap
    from store_server.cluster.map_source import MapSource

log = structlog.get_logger()
_PAUSE_SECONDS: Final = 1.0


async def follow_map(source: MapSource, known: KnownMap, changed: Callable[[], None]) -> None:
    """Take each map of the source that is newer, and call `changed` then; a source that fails is asked again."""
    is_failing = False
    while True:
        try:
            async for shard_map in source.follow():
                if is_failing:
                    log.info("the source of the shard map answers again")
                is_failing = False
                if await asyncio.to_thread(known.take, shard_map):
                    changed()
        except MapSourceFailed as error:
            if not is_failing:
                log.warning("the source of the shard map fails; the last map stays", error=str(error))
            is_failing = True
        await asyncio.sleep(_PAUSE_SECONDS)
