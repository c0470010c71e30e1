"""To which cluster a data root belongs: names are chosen by people, and two clusters may have the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import structlog

from store_server.cluster.kept_file import DIRECTORY, keep_file
from store_server.storage.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger()
_FILE: Final = "id"
_MOST_BYTES: Final = 1000
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")


def is_cluster_id(text: str) -> bool:
    """Tell whether this may be an id: nodes draw 32 hexadecimal digits."""
    return _ID.fullmatch(text) is not None


class KeptClusterId:
    """Kept in ROOT/cluster/id, and there before a map of that cluster is.

    One of several processes that share `root` keeps what it takes.
    """

    def __init__(self, root: Path, *, is_kept: bool = True) -> None:
        self.root = root
        self._path = root / DIRECTORY / _FILE
        self._is_kept = is_kept
        self.value = self._read()
        """"" while it is not known."""

    def take(self, cluster_id: str) -> None:
        """Take the id of a node's cluster, which never changes. Waits for a disk."""
        if cluster_id == self.value:
            return
        self.value = cluster_id
        if self._is_kept:
            try:
                keep_file(self._path, f"{cluster_id}\n".encode())
            except StorageError as error:
                log.warning("the id of the cluster cannot be kept", error=str(error))

    def _read(self) -> str:
        try:
            with self._path.open("rb") as file:
                kept = file.read(_MOST_BYTES).decode().strip()
            if is_cluster_id(kept):
                return kept
            why = f"{kept!r:.200} is no id"
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            why = str(error)
        # The etcd that is named is believed then, as at a node's first start.
        log.warning("the id of the cluster cannot be read", path=str(self._path), error=why)
        return ""
