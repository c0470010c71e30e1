"""Lets a node leave a living cluster for good, and waits until it can be stopped."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from store_server.cluster.next_map.leaving import CannotLeave, is_leaving, leaving, needed_for, staying
from store_server.counted import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from store_server.cluster.living_cluster import LivingCluster


async def leave(
    cluster: LivingCluster, node_id: str, *, timeout: float, progress: Callable[[int], None] = lambda _: None
) -> None:
    """Have the shards of a node go to others. Returns once it is needed for none; `progress` hears of bytes to go.

    Raises CannotLeave; if that is after `timeout` seconds, the node goes on leaving all the same.
    """
    living = (await cluster.living()).keys()
    await cluster.change(lambda known: leaving(known, node_id, living))
    try:
        async with asyncio.timeout(timeout):
            await _until_not_needed(cluster, node_id, progress)
    except TimeoutError:
        shards, num_bytes = needed_for(await cluster.shard_map(), node_id)
        raise CannotLeave(
            f"after {timeout:g} seconds node {node_id!r} is needed still for {counted(shards, 'shard')} of "
            f"{num_bytes:,} bytes; "
            "it goes on leaving: run this again to wait on, or with --cancel to keep the node"
        ) from None


async def stay(cluster: LivingCluster, node_id: str) -> None:
    """Have a node not leave after all; shards that have gone come back as others have room. Raises CannotLeave."""
    await cluster.living()  # raises where the map is somebody else's
    await cluster.change(lambda known: staying(known, node_id))


async def _until_not_needed(cluster: LivingCluster, node_id: str, progress: Callable[[int], None]) -> None:
    async with aclosing(cluster.maps()) as maps:
        async for found in maps:
            shards, num_bytes = needed_for(found, node_id)
            progress(num_bytes)
            if not shards:
                return
            if not is_leaving(found, node_id):
                raise CannotLeave(f"somebody else has said meanwhile that node {node_id!r} stays")
