"""The shard map in a file: written by hand, by `publish`, or mounted by whatever runs the nodes."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from engram_store.shard_map import InvalidShardMap, read_shard_map, write_shard_map
from store_server.cluster.map_source import MapSourceFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engram_store.shard_map import ShardMap

log = structlog.get_logger()
_LOOK_SECONDS: Final = 0.5


class FileMapSource:
    """Reads the map at `path` whenever it changes. Several programs of one host may swap it: they take turns."""

    def __init__(self, path: Path, look_seconds: float = _LOOK_SECONDS) -> None:
        self._path = path
        self._look_seconds = look_seconds

    async def follow(self) -> AsyncIterator[ShardMap]:
        """See MapSource.follow."""
        seen: tuple[int, int, int] | None = None
        epoch = 0
        while True:
            try:
                status = self._path.stat()
                looks = (status.st_ino, status.st_size, status.st_mtime_ns)
                if looks != seen:
                    shard_map = self._read()
                    seen = looks
                    if shard_map.epoch > epoch:
                        epoch = shard_map.epoch
                        yield shard_map
                    else:
                        log.warning("shard map is not newer", path=str(self._path), epoch=shard_map.epoch, known=epoch)
            except OSError as error:
                raise MapSourceFailed(f"{self._path}: {error.strerror or error}") from error
            except InvalidShardMap as error:
                seen = looks
                log.error("shard map cannot be used", path=str(self._path), error=str(error))
            await asyncio.sleep(self._look_seconds)

    async def compare_and_swap(self, expected_epoch: int, shard_map: ShardMap) -> bool:
        """See MapSource.compare_and_swap."""
        return await asyncio.to_thread(self._swap, expected_epoch, shard_map)

    async def close(self) -> None:
        """See MapSource.close."""

    def _read(self) -> ShardMap:
        return read_shard_map(self._path.read_bytes())

    def _swap(self, expected_epoch: int, shard_map: ShardMap) -> bool:
        lock, temporary = self._path.with_name(f"{self._path.name}.lock"), self._path.with_name(f"{self._path.name}.new")
        try:
            with lock.open("w") as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                found = self._read().epoch if self._path.exists() else 0
                if found != expected_epoch:
                    return False
                with temporary.open("w") as file:
                    file.write(write_shard_map(shard_map))
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(self._path)
        except InvalidShardMap as error:
            raise MapSourceFailed(f"{self._path}: {error}") from error
        except OSError as error:
            raise MapSourceFailed(f"{self._path}: {error.strerror or error}") from error
        return True
