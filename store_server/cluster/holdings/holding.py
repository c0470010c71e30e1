"""Makes the data root of a node what the shard map says: it fetches what is missing, lets go of what is too much."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog

from store_server.cluster.blocks.waking_stop import WakingStop
from store_server.cluster.holdings.copies import Copies
from store_server.cluster.holdings.damaged_copies import mend_copies
from store_server.cluster.holdings.fetching import Fetching, copy_from
from store_server.cluster.holdings.letting_go import LettingGo
from store_server.cluster.holdings.own_holdings import OwnHoldings
from store_server.cluster.holdings.room import Room
from store_server.cluster.holdings.root_disk import RootDisk
from store_server.cluster.holdings.scrub import BadBlock, NotWanted, Scrub, taken_out
from store_server.cluster.holdings.still_to_come import bytes_to_come
from store_server.cluster.holdings.wanted import WantedShard, wanted_shards
from store_server.storage import StorageError, root_writer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engram_store.shard_map import ShardMap, VersionKey
    from store_server.cluster.blocks.copy_sources import CopySources
    from store_server.cluster.cluster_config import ClusterConfig
    from store_server.cluster.known_map import KnownMap
    from store_server.cluster.registration import BlockRanges, Holdings
    from store_server.storage import DataRoot
    from store_server.storage.stored_version import StoredVersion

log = structlog.get_logger()
_LOOK_SECONDS: Final = 1.0


class Holding:
    """What a node does about its data root, from `start` to `close`. Belongs to the running event loop.

    `changed` is called in the loop when others should hear what is held now.
    """

    def __init__(
        self,
        config: ClusterConfig,
        root: DataRoot,
        known: KnownMap,
        *,
        changed: Callable[[], None],
        sources: CopySources,
    ) -> None:
        self._config = config
        self._root = root
        self._known = known
        self._changed = changed
        self._own = OwnHoldings(root)
        copies = Copies(root.path)
        self._copies = copies
        self._sources = sources
        self._room = Room(RootDisk(root.path), config.capacity_bytes)
        self._fetching = Fetching(
            root,
            copies,
            done=self._tell,
            disk_failed=self._room.failed,
            bytes_per_second=config.copy_bytes_per_second,
            sources=sources,
        )
        self._letting_go = LettingGo(root, copies, config.keep_seconds, find=self._own.stored)
        self._held: Mapping[VersionKey, BlockRanges] = {}  # at the last look
        self._wake = asyncio.Event()
        self._stop = WakingStop()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._said = ""

    async def start(self) -> None:
        """Begin. Raises StorageError."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(lambda: self._room.measure(self._own().num_bytes))
        self._task = asyncio.create_task(self._run())
        rate = self._config.scrub_bytes_per_second
        if rate is not None:
            scrub = Scrub(self._root, rate, changed=self._tell, repair=self._repair)
            threading.Thread(target=scrub.run, args=(self._stop,), name="scrub", daemon=True).start()

    def look(self) -> None:
        """Look now: there is another map."""
        self._wake.set()

    def limited(self, capacity_bytes: int) -> int:
        """See Room.limited."""
        return self._room.limited(capacity_bytes)

    @property
    def disk_failure(self) -> str:
        """See Room.failure."""
        return self._room.failure

    def quarantine(self, stored: StoredVersion, block: int) -> None:
        """Hold a block no longer, if it is bad; it is fetched again. For any thread; raises StorageError."""
        if taken_out(self._root, stored, block):
            self._tell()

    async def close(self) -> None:
        """Stop. What is being fetched goes on after the next start."""
        self._stop.set()
        await asyncio.to_thread(self._fetching.close)
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            said = ""
            try:
                if await asyncio.to_thread(self._step):
                    self._changed()
            except (StorageError, OSError) as error:  # the next look may find the disk in a better state
                said = f"cannot look after what the node holds: {error}"
            except Exception:  # a mistake of ours: without this task nothing new would ever be fetched
                log.exception("cannot look after what the node holds")
            if said and said != self._said:
                log.warning(said)
            self._said = said

    def _step(self) -> bool:
        """Do what can be done now; tells whether less is held."""
        shard_map = self._known.newest
        if shard_map is None or all(node.id != self._config.node_id for node in shard_map.nodes):
            return False
        held = self._own()
        if held.blocks != self._held:  # another process of the node may have found a bad block
            self._held = held.blocks
            self._tell()
        current = [version.key for version in shard_map.current_versions()]
        mend_copies(self._root, self._copies, self._own.damaged - self._fetching.under_way, current=current)
        wanted = self._wanted(shard_map)
        missing = [shard for shard in wanted if not _is_in(held.blocks.get(shard.key, ()), shard)]
        self._follow_current(shard_map, held)
        to_come = bytes_to_come(self._root, shard_map, missing, held, self._fetching.shards_under_way)
        try:
            return self._letting_go.look(_blocks_of(wanted, shard_map), self._fetching.under_way, to_come)
        finally:  # whatever cannot be let go of
            if not self._letting_go.makes_room:
                self._fetching.fetch(missing, held.blocks.keys())
            kept_bytes = _bytes_of(wanted, shard_map) - _bytes_of(missing, shard_map)
            if self._room.look(
                held_bytes=held.num_bytes, kept_bytes=kept_bytes, makes_room=self._letting_go.makes_room
            ):
                self._tell()

    def _follow_current(self, shard_map: ShardMap, held: Holdings) -> None:
        """Let the current version of the map be that of the data root, where both are copies of the node's own."""
        for version in shard_map.current_versions():
            if version.key not in held.blocks:
                continue
            with suppress(StorageError):  # of one table; the next look tries it again
                before = version.key._replace(version=self._root.current_version(version.table))
                if before != version.key and before in self._copies and version.key in self._copies:
                    with root_writer(self._root.path) as writer:
                        writer.make_current(*version.key)

    def _wanted(self, shard_map: ShardMap) -> list[WantedShard]:
        self._sources.know(shard_map)
        return wanted_shards(shard_map, self._config.node_id, scheme=self._sources.scheme)

    def _repair(self, bad: BadBlock) -> None:
        shard_map = self._known.newest
        wanted = self._wanted(shard_map) if shard_map is not None else []
        for shard in wanted:
            if shard.key == bad[:2] and shard.first <= bad.block < shard.end:
                block = bad.block, bad.block + 1
                copy_from(self._root, shard.key, block, shard.sources, self._sources, stop=self._stop)
                self._tell()
                return
        raise NotWanted("the shard map does not say that this node is to hold it")

    def _tell(self) -> None:
        """Say from any thread that other blocks are held now, and look what follows."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the node has stopped
                self._loop.call_soon_threadsafe(self._changed)
                self._loop.call_soon_threadsafe(self._wake.set)


def _is_in(ranges: BlockRanges, shard: WantedShard) -> bool:
    return any(first <= shard.first and shard.end <= end for first, end in ranges)


def _blocks_of(wanted: Sequence[WantedShard], shard_map: ShardMap) -> Mapping[VersionKey, NDArray[np.bool_]]:
    """Return which blocks of each version are wanted, (num_blocks,)."""
    blocks: dict[VersionKey, NDArray[np.bool_]] = {}
    for key, version in shard_map.versions.items():
        blocks[key] = np.zeros(-(-version.num_rows // version.block_rows), np.bool_)
    for shard in wanted:
        blocks[shard.key][shard.first : shard.end] = True
    return blocks


def _bytes_of(shards: Iterable[WantedShard], shard_map: ShardMap) -> int:
    num_bytes = 0
    for shard in shards:
        version = shard_map.versions[shard.key]
        num_rows = min(shard.end * version.block_rows, version.num_rows) - shard.first * version.block_rows
        num_bytes += num_rows * version.row_bytes
    return num_bytes
