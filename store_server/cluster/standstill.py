"""Says what a publisher waits for while nothing moves: each reason once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from engram_store.shard_map import VersionKey
from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.counted import is_or_are

if TYPE_CHECKING:
    from engram_store.shard_map import ShardMap
    from store_server.cluster.registration import NodeRegistration


@asynccontextmanager
async def reasons_said(
    why: Callable[[], Awaitable[str]], say: Callable[[str], None] | None, every_seconds: float
) -> AsyncIterator[None]:
    """As long as the block lasts, have `say` hear now and then what `why` returns: each sentence once, "" never.

    Where it cannot be asked why, that is a reason, too. None for nobody to hear it.
    """
    if say is None:
        yield
        return
    saying = asyncio.create_task(_say(why, say, every_seconds))
    try:
        yield
    finally:
        saying.cancel()
        await asyncio.wait([saying])


async def _say(why: Callable[[], Awaitable[str]], say: Callable[[str], None], every_seconds: float) -> None:
    said = {""}
    while True:
        await asyncio.sleep(every_seconds)
        try:
            reason = await why()
        except MapSourceFailed as error:
            reason = f"waiting: {error}"
        if reason not in said:
            say(reason)
            said.add(reason)


def disks_that_fail(living: Mapping[str, NodeRegistration]) -> str:
    """Return in a sentence which nodes take no more rows, and why; "" if all do."""
    return "; ".join(
        f"node {name} takes no more rows: {node.disk_failure}"
        for name, node in sorted(living.items())
        if node.disk_failure
    )


def whom_it_waits_for(found: ShardMap, versions: Mapping[str, str], living: Collection[str]) -> str:
    """Return in a sentence which nodes are to fetch of these versions, by table, and are not `living`; "" if none."""
    wanted = {
        place
        for item in versions.items()
        if (version := found.versions.get(VersionKey(*item))) is not None
        for shard in version.shards
        if len(shard.holders) < found.replicas
        for place in shard.joining
    }
    away = {node.id for node in found.nodes} - set(living)
    names = sorted(away & {found.nodes[place].id for place in wanted})
    if not names:
        return ""
    option = "--all-lost-after" if 1 < len(away) >= len(found.nodes) / 2 else "--lost-after"  # as nodes decide it
    their = "its" if len(names) == 1 else "their"
    return (
        f"waiting for {', '.join(names)}, which {is_or_are(len(names))} away: {their} part goes to others {option} "
        f"after {their} death"
    )
