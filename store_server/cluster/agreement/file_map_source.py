"""The shard map in a file: written by hand, or mounted by whatever runs the nodes."""

from __future__ import annotations

import asyncio
import fcntl
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import unquote, urlsplit

from engram_store.shard_map import MAX_MAP_BYTES, InvalidShardMap, read_shard_map, write_shard_map
from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.storage.durable import replace_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engram_store.shard_map import ShardMap

SCHEME: Final = "file"
_LOOK_SECONDS: Final = 0.5
_MOST_BYTES: Final = 16 * MAX_MAP_BYTES  # as JSON a map is a few times as long as what may travel
_Looks: TypeAlias = tuple[int, int, int]  # what tells one content of the file from another
_NO_FILE: Final = (0, 0, 0)
_NOT_LOOKED_YET: Final = (-1, -1, -1)


def path_of(url: str) -> Path:
    """Return the path in file:///PATH; raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme != SCHEME or parts.netloc or not parts.path.startswith("/") or parts.path.endswith("/"):
        raise ValueError(f"the file of a shard map is named by file:///PATH with the whole path, got {url!r:.200}")
    return Path(unquote(parts.path))


class FileMapSource:
    """Reads the map at `path` whenever it changes. Several programs of one host may swap it: they take turns."""

    def __init__(self, path: Path, look_seconds: float = _LOOK_SECONDS) -> None:
        self._path = path
        self._look_seconds = look_seconds

    async def follow(self) -> AsyncIterator[ShardMap | None]:
        """See MapSource.follow."""
        seen = _NOT_LOOKED_YET
        while True:
            looks = await asyncio.to_thread(self._looks)
            if looks != seen:
                seen = looks
                yield await asyncio.to_thread(self._read)
            await asyncio.sleep(self._look_seconds)

    async def compare_and_swap(self, expected_epoch: int, shard_map: ShardMap) -> bool:
        """See MapSource.compare_and_swap."""
        return await asyncio.to_thread(self._swap, expected_epoch, shard_map)

    def _looks(self) -> _Looks:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return _NO_FILE
        except OSError as error:
            raise MapSourceFailed(f"{self._path}: {error.strerror}") from error
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _read(self) -> ShardMap | None:
        """Return the map, None if there is no file."""
        try:
            with self._path.open("rb") as file:
                text = file.read(_MOST_BYTES + 1)
            if len(text) > _MOST_BYTES:
                raise MapSourceFailed(f"{self._path}: the file of a shard map has at most {_MOST_BYTES:,} bytes")
            return read_shard_map(text)
        except FileNotFoundError:
            return None
        except InvalidShardMap as error:
            raise MapSourceFailed(f"{self._path}: {error}") from error
        except OSError as error:
            raise MapSourceFailed(f"{self._path}: {error.strerror}") from error

    def _swap(self, expected_epoch: int, shard_map: ShardMap) -> bool:
        lock, temporary = (self._path.with_name(f"{self._path.name}.{suffix}") for suffix in ("lock", "new"))
        try:
            with lock.open("w") as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                found = self._read()
                if (0 if found is None else found.epoch) != expected_epoch:
                    return False
                temporary.unlink(missing_ok=True)  # of one who died while writing it
                replace_file(self._path, write_shard_map(shard_map).encode(), temporary=temporary)
        except OSError as error:
            raise MapSourceFailed(f"{self._path}: {error.strerror}") from error
        return True
