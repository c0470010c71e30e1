"""Fetches shards that a node is to hold and lacks: a few at a time, each again after a while if it failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent import futures
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import structlog

from store_server.cluster.blocks.copy_sources import CopySources
from store_server.cluster.blocks.copying import CopyProgress, CopyStopped, copy_blocks
from store_server.cluster.blocks.waking_stop import WakingStop
from store_server.storage import DiskFull, RootNotWritable, StorageError, StorageFailure
from store_server.storage.arrivals import home_of

if TYPE_CHECKING:
    from engram_store.shard_map import VersionKey
    from store_server.cluster.holdings.copies import Copies
    from store_server.cluster.holdings.wanted import WantedShard
    from store_server.storage import DataRoot

log = structlog.get_logger()
_COPIES_AT_ONCE: Final = 3
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
_SAY_SECONDS: Final = 10.0
_END_SECONDS: Final = 1.0
_TIMES_AT_DISK: Final = 3  # what fails once may be a version that moves just then
Sources: TypeAlias = tuple[str, ...]


class ShardName(NamedTuple):
    """What tells shards apart."""

    key: VersionKey
    number: int


class _Failure(NamedTuple):
    times: int
    times_at_disk: int  # the last ones, one after the other
    retry_at: float
    sources: Sources


class _Failed(NamedTuple):
    """How a copy ended that did not succeed."""

    error: Exception
    at: float
    sources: Sources


class Fetching:
    """Copies shards into a data root in threads of its own. Its methods are called by one thread at a time.

    Those are daemon threads: nothing of theirs has to be finished, as a copy may be cut off at any moment, and one that
    waits for a name server or a disk that is away cannot be woken, and is not to keep the process from ending.

    `done` is called in a thread whenever something was copied, or failed to be; `disk_failed` when there is no room,
    and when a shard could not be written, or not be read, several times in a row: in any thread.
    `bytes_per_second` is for all of it together, None for no limit.
    """

    def __init__(
        self,
        root: DataRoot,
        copies: Copies,
        *,
        done: Callable[[], None],
        disk_failed: Callable[[StorageError], None],
        bytes_per_second: float | None,
        sources: CopySources | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._copies = copies
        self._done = done
        self._disk_failed = disk_failed
        self._bytes_per_second = bytes_per_second
        self._sources = sources or CopySources()
        self._now = now
        # With a limit one copy uses it up, and there is nobody to share it with.
        self._at_once = _COPIES_AT_ONCE if bytes_per_second is None else 1
        self._stop = WakingStop()
        self._running: dict[ShardName, futures.Future[_Failed | None]] = {}
        self._failed: dict[ShardName, _Failure] = {}

    @property
    def under_way(self) -> set[VersionKey]:
        """Versions of which something is being copied."""
        return {name.key for name, future in self._running.items() if not future.done()}

    @property
    def shards_under_way(self) -> set[ShardName]:
        """Shards that are being copied."""
        return {name for name, future in self._running.items() if not future.done()}

    def fetch(self, missing: Sequence[WantedShard], arrived: Collection[VersionKey]) -> None:
        """Begin with as many of the missing shards as is possible now; `arrived` are the versions that are here."""
        self._collect({ShardName(shard.key, shard.number) for shard in missing})
        for shard in missing:
            if len(self._running) == self._at_once or self._stop.is_set():
                return
            name = ShardName(shard.key, shard.number)
            # Until a version is here, one copy at a time makes it appear.
            waits = shard.key not in arrived and any(running.key == shard.key for running in self._running)
            if name not in self._running and not waits and self._may_try(name, shard):
                self._begin(name, shard)

    def close(self) -> None:
        """Stop. Copies that wait for a source are woken, and what of them does not end soon is left to itself.

        Waits, for a second at most.
        """
        self._stop.set()
        futures.wait(list(self._running.values()), _END_SECONDS)

    def _may_try(self, name: ShardName, shard: WantedShard) -> bool:
        failure = self._failed.get(name)
        return failure is None or self._now() >= failure.retry_at or failure.sources != shard.sources

    def _begin(self, name: ShardName, shard: WantedShard) -> None:
        try:
            if home_of(self._root, *shard.key) is None:
                self._copies.add(shard.key)
        except StorageError as error:  # such as a name that no table can have: the other shards are to be copied
            if isinstance(error, DiskFull):
                self._disk_failed(error)
            self._note_failure(name, _Failed(error, self._now(), shard.sources))
            return
        future: futures.Future[_Failed | None] = futures.Future()
        future.add_done_callback(lambda _: self._done())
        self._running[name] = future
        threading.Thread(target=self._copy, args=(shard, future), name=f"copy-{shard.number}", daemon=True).start()

    def _collect(self, missing: Collection[ShardName]) -> None:
        """Take note of what has ended; forget failures of what is not missing any more."""
        for name, future in list(self._running.items()):
            if future.done():
                del self._running[name]
                if (failed := future.result()) is not None:
                    self._note_failure(name, failed)
        self._failed = {name: failure for name, failure in self._failed.items() if name in missing}

    def _copy(self, shard: WantedShard, ended: futures.Future[_Failed | None]) -> None:
        ended.set_result(self._failed_to_copy(shard))

    def _failed_to_copy(self, shard: WantedShard) -> _Failed | None:
        """Copy a shard, in a thread of its own; returns None if that succeeded or was stopped."""
        began = self._now()
        try:
            copy_from(
                self._root,
                shard.key,
                (shard.first, shard.end),
                shard.sources,
                self._sources,
                progress=_Said(shard, self._now),
                bytes_per_second=self._bytes_per_second,
                stop=self._stop,
            )
        except CopyStopped:
            return None
        except Exception as error:  # of whatever source or disk: the other shards are to be copied all the same
            if self._stop.is_set():  # the sources were interrupted
                return None
            if isinstance(error, DiskFull):
                self._disk_failed(error)
            return _Failed(error, self._now(), shard.sources)
        seconds = round(self._now() - began, 3)
        log.info("shard copied", table=shard.key.table, version=shard.key.version, shard=shard.number, seconds=seconds)
        return None

    def _note_failure(self, name: ShardName, failed: _Failed) -> None:
        before = self._failed.get(name)
        times = before.times if before is not None else 0
        pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(times, 10))
        times_at_disk = 0
        if isinstance(failed.error, (RootNotWritable, StorageFailure)):
            times_at_disk = 1 + (before.times_at_disk if before is not None else 0)
            if times_at_disk >= _TIMES_AT_DISK:
                self._disk_failed(failed.error)
        self._failed[name] = _Failure(times + 1, times_at_disk, failed.at + pause, failed.sources)
        table, version = name.key
        error = str(failed.error)
        log.warning("shard not copied", table=table, version=version, shard=name.number, error=error, again=pause)


def copy_from(
    root: DataRoot,
    key: VersionKey,
    blocks: tuple[int, int],
    urls: Sequence[str],
    opener: CopySources,
    *,
    progress: Callable[[CopyProgress], None] = lambda _: None,
    bytes_per_second: float | None = None,
    stop: WakingStop,
) -> None:
    """Hold a range of blocks, from the first of the sources at `urls` that gives them; raises as `copy_blocks` does.

    Once `stop` is set, what waits for a source fails.
    """
    with ExitStack() as stack:
        sources = [stack.enter_context(stop.wakes(opener.open(url))) for url in urls]
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
