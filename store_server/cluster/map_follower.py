"""Keeps a node's map as new as its source has it, for as long as the node runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from store_server.cluster.agreement.map_source import MapSourceFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from engram_store.shard_map import ShardMap
    from store_server.cluster.agreement.map_source import MapSource
    from store_server.cluster.known_map import KnownMap

log = structlog.get_logger()
_PAUSE_SECONDS: Final = 1.0


async def follow_map(
    source: MapSource,
    known: KnownMap,
    heard: Callable[[ShardMap | None], None],
    failed: Callable[[], None],
    *,
    where: str = "",
    pause_seconds: float = _PAUSE_SECONDS,
) -> None:
    """Take each map of the source that is newer, and tell `heard` what the source has.

    A source that fails is asked again, after `failed` was told. `where` it is goes into the log.
    """
    failure = ""
    while True:
        try:
            async for found in source.follow():
                if failure:
                    log.info("the source of the shard map answers again")
                failure = ""
                if found is None:
                    log.warning("the source has no shard map", source=where, known=known.epoch)
                else:
                    await asyncio.to_thread(known.take, found)
                heard(found)
        except MapSourceFailed as error:
            if failure != str(error):
                log.warning("the source of the shard map fails; the last map stays", error=str(error))
            failure = str(error)
            failed()
        await asyncio.sleep(pause_seconds)
