"""Which versions of a data root were copied into it by the node itself: only those may it take away again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import structlog

from engram_store.shard_map import VersionKey
from store_server.cluster.kept_file import DIRECTORY, keep_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = structlog.get_logger()
_FILE: Final = "copies.json"


class Copies:
    """Kept in ROOT/cluster/copies.json, and there before the first byte of a copy is.

    Whoever imported a version into the data root of a node keeps it, whatever the shard map says.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / DIRECTORY / _FILE
        self._keys = self._read()

    def __contains__(self, key: VersionKey) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[VersionKey]:
        return iter(sorted(self._keys))

    def add(self, key: VersionKey) -> None:
        """Take note that a version is being copied. Waits for a disk; raises StorageError."""
        if key not in self._keys:
            self._keep({*self._keys, key})

    def discard(self, key: VersionKey) -> None:
        """Forget a version. Waits for a disk; raises StorageError."""
        if key in self._keys:
            self._keep(self._keys - {key})

    def _keep(self, keys: set[VersionKey]) -> None:
        keep_file(self._path, json.dumps(sorted(keys)).encode() + b"\n")
        self._keys = keys

    def _read(self) -> set[VersionKey]:
        try:
            return {VersionKey(str(table), str(version)) for table, version in json.loads(self._path.read_bytes())}
        except FileNotFoundError:
            return set()
        except (OSError, ValueError, TypeError, RecursionError) as error:
            # Then nothing is taken away, which wastes room at the most.
            # Then nothing is taken away, which wastes room at the most.
            log.warning("it is not known which versions were copied", path=str(self._path), error=str(error))
            return set()
