"""Fetches shards that a node is to hold and lacks: a few at a time, each again after a while if it failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import structlog

from store_server.cluster.block_source import source_for_a_copy
from store_server.cluster.copying import CopyProgress, CopyStopped, copy_blocks
from store_server.storage import DiskFull, StorageError
from store_server.storage.arrivals import home_of

if TYPE_CHECKING:
    from engram_store.shard_map import VersionKey
    from store_server.cluster.copies import Copies
    from store_server.cluster.wanted import WantedShard
    from store_server.storage import DataRoot

log = structlog.get_logger()
_COPIES_AT_ONCE: Final = 3
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
_SAY_SECONDS: Final = 10.0
Sources: TypeAlias = tuple[str, ...]


class ShardName(NamedTuple):
    """What tells shards apart."""

    key: VersionKey
    number: int


class _Failure(NamedTuple):
    times: int
    retry_at: float
    sources: Sources


class Fetching:
    """Copies shards into a data root in threads of its own. Its methods are called by one thread at a time.

    `done` is called in a thread whenever something was copied, or failed to be; `disk_full` when there is no room.
    `bytes_per_second` is for all of it together, None for no limit.
    """

    def __init__(
        self,
        root: DataRoot,
        copies: Copies,
        *,
        done: Callable[[], None],
        disk_full: Callable[[], None],
        bytes_per_second: float | None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._copies = copies
        self._done = done
        self._disk_full = disk_full
        self._bytes_per_second = bytes_per_second
        self._now = now
        # With a limit one copy uses it up, and there is nobody to share it with.
        self._at_once = _COPIES_AT_ONCE if bytes_per_second is None else 1
        self._threads = ThreadPoolExecutor(self._at_once, thread_name_prefix="copy")
        self._stop = threading.Event()
        self._running: dict[ShardName, Future[None]] = {}
        self._failed: dict[ShardName, _Failure] = {}

    @property
    def under_way(self) -> set[VersionKey]:
        """Versions of which something is being copied."""
        return {name.key for name in self._running}

    def fetch(self, missing: Sequence[WantedShard], arrived: Collection[VersionKey]) -> None:
        """Begin with as many of the missing shards as is possible now; `arrived` are the versions that are here."""
        self._collect({ShardName(shard.key, shard.number) for shard in missing})
        for shard in missing:
            if len(self._running) == self._at_once:
                return
            name = ShardName(shard.key, shard.number)
            # Until a version is here, one copy at a time makes it appear.
            waits = shard.key not in arrived and shard.key in self.under_way
            if name not in self._running and not waits and self._may_try(name, shard):
                self._begin(name, shard)

    def close(self) -> None:
        """Stop, each copy after what it is just fetching."""
        self._stop.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _may_try(self, name: ShardName, shard: WantedShard) -> bool:
        failure = self._failed.get(name)
        return failure is None or self._now() >= failure.retry_at or failure.sources != shard.sources

    def _begin(self, name: ShardName, shard: WantedShard) -> None:
        try:
            if home_of(self._root, *shard.key) is None:
                self._copies.add(shard.key)
        except StorageError as error:  # such as a name that no table can have: the other shards are to be copied
            self._note_failure(name, shard.sources, error)
            return
        future = self._threads.submit(self._copy, shard)
        self._running[name] = future
        future.add_done_callback(lambda _: self._done())

    def _collect(self, missing: Collection[ShardName]) -> None:
        """Take note of what has ended; forget failures of what is not missing any more."""
        for name, future in list(self._running.items()):
            if future.done():
                del self._running[name]
        self._failed = {name: failure for name, failure in self._failed.items() if name in missing}

    def _copy(self, shard: WantedShard) -> None:
        name, began = ShardName(shard.key, shard.number), self._now()
        try:
            copy_from(
                self._root,
                shard.key,
                (shard.first, shard.end),
                shard.sources,
                progress=_Said(shard, self._now),
                bytes_per_second=self._bytes_per_second,
                stop=self._stop,
            )
        except CopyStopped:
            return
        except Exception as error:  # of whatever source or disk: the other shards are to be copied all the same
            self._note_failure(name, shard.sources, error)
            return
        seconds = round(self._now() - began, 3)
        log.info("shard copied", table=shard.key.table, version=shard.key.version, shard=shard.number, seconds=seconds)

    def _note_failure(self, name: ShardName, sources: Sources, error: Exception) -> None:
        before = self._failed.get(name)
        times = before.times if before is not None else 0
        pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(times, 10))
        self._failed[name] = _Failure(times + 1, self._now() + pause, sources)
        table, version = name.key
        log.warning("shard not copied", table=table, version=version, shard=name.number, error=str(error), again=pause)
        if isinstance(error, DiskFull):
            self._disk_full()


def copy_from(
    root: DataRoot,
    key: VersionKey,
    blocks: tuple[int, int],
    urls: Sequence[str],
    *,
    progress: Callable[[CopyProgress], None] = lambda _: None,
    bytes_per_second: float | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Hold a range of blocks, from the first of the sources at `urls` that gives them; raises as `copy_blocks` does."""
    with ExitStack() as stack:
        sources = [stack.enter_context(closing(source_for_a_copy(url))) for url in urls]
        copy_blocks(root, *key, [blocks], sources, progress=progress, bytes_per_second=bytes_per_second, stop=stop)


class _Said:
    """Says now and then in the log how far a copy is."""

    def __init__(self, shard: WantedShard, now: Callable[[], float]) -> None:
        self._shard, self._now, self._next = shard, now, now() + _SAY_SECONDS

    def __call__(self, progress: CopyProgress) -> None:
        if self._now() < self._next:
            return
        self._next = self._now() + _SAY_SECONDS
        table, version = self._shard.key
        done, all_ = progress.bytes_done, progress.num_bytes
        log.info("copying", table=table, version=version, shard=self._shard.number, bytes_done=done, num_bytes=all_)
