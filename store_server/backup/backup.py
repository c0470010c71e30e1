"""Copies a data root that is being served and changed into another directory, which is a data root, too.

A backup has what the root held when it began: a version that comes later is for the next one, and one that is dropped
before its turn is left out. Each version appears in the backup once it is whole, and no table has a current version
there but one that was its current one: so whoever opens the backup at any time, also after a crash, finds whole
versions.

Of what else lies in a root, a backup gets what a node of a cluster must know: which versions it has fetched, and may
therefore take away, and the last shard map, which nodes put back where nobody knows it any more. It gets no lock, no
mark of what was read or is in quarantine, and nothing half written. No node's id is in its root.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final

from engram_store.shard_map import VersionKey
from store_server.backup.attached_copy import copy_attached
from store_server.backup.contents import Contents, TableContents, contents, contents_of
from store_server.backup.outcome import BackedUp, Outcome
from store_server.backup.source_version import SourceUnreadable, SourceVersion, VersionGone
from store_server.backup.space import bytes_lacking
from store_server.backup.version_copy import BATCH_BYTES, Progress, VersionCopy
from store_server.cluster.blocks.pace import Pace
from store_server.cluster.holdings.copies import Copies
from store_server.cluster.kept_cluster_id import KeptClusterId
from store_server.cluster.known_map import KnownMap
from store_server.storage import DataRoot, DiskFull, TableDamaged, VersionNotFound, root_writer
from store_server.storage.arrivals import remove_arrivals
from store_server.storage.durable import bytes_free
from store_server.storage.node_lock import NodeLock

if TYPE_CHECKING:
    from pathlib import Path

    from store_server.storage import RootWriter

_MOST_LOOKS: Final = 10  # at a table whose current version is dropped each time before it is opened
Bar = Callable[[str], AbstractContextManager[Progress]]


@contextmanager
def backup_into(
    root: DataRoot, to: Path, *, bytes_per_second: float | None = None, batch_bytes: int = BATCH_BYTES
) -> Iterator[Backup]:
    """Hold the directory `to` for a backup of a data root; it is made if it is not there.

    Raises RootBusy while another writes there, RootOfAnotherNode while a node of a cluster has it, RootNotWritable.
    """
    with root_writer(to) as writer:
        lock = NodeLock(to)
        lock.take("a backup")
        try:
            yield Backup(root, writer, Pace(bytes_per_second), batch_bytes)
        finally:
            lock.release()


class Backup:
    """Made by `backup_into`. `lacking` counts what could not be copied so far."""

    def __init__(self, root: DataRoot, writer: RootWriter, pace: Pace, batch_bytes: int) -> None:
        self.lacking = 0
        self._root, self._writer, self._pace, self._batch_bytes = root, writer, pace, batch_bytes
        self._copies_there, self._copies = Copies(root.path), Copies(writer.root.path)

    def run(self, bar: Bar, *, prune: bool = False) -> Iterator[BackedUp]:
        """Copy what the backup lacks, and say of each version what became of it. `bar` shows how far one is.

        With `prune`, what the root has no more is removed at the end, unless something could not be copied. Raises
        DiskFull before anything is copied, and whatever is wrong with the backup's own disk.
        """
        found = contents(self._root)
        self._make_ready(found)
        for name, error in found.failures.items():
            yield self._noted(BackedUp(name, "", Outcome.UNREADABLE, error=error))
        copied: list[TableContents] = []
        for table in found.tables:
            looked_at = yield from self._copy_table(table, bar)
            copied += [] if looked_at is None else [looked_at]
        for name, current, _ in copied:
            self._writer.make_current(name, current)
        self._keep_cluster()
        if prune and not self.lacking:
            yield from self._removed(found)

    def _make_ready(self, found: Contents) -> None:
        """Remove what was begun of versions that are gone since; raise DiskFull if not all that is new has room."""
        to = self._writer.root
        keys = [(each.table, version) for each in found.tables for version in (each.current, *each.others)]
        remove_arrivals(to, but=keys)
        lacking, free = bytes_lacking(self._root, to, keys), bytes_free(to.path)
        if lacking > free:
            raise DiskFull(to.path, lacking, free)

    def _copy_table(self, table: TableContents, bar: Bar) -> Generator[BackedUp, None, TableContents | None]:
        """Copy the current version, then the others; returns what is current in the backup, None for nothing new."""
        now: TableContents | None = table
        for _ in range(_MOST_LOOKS):
            if now is None:
                return None
            current = self._copied(now.table, now.current, bar)
            if current is not None:
                break
            now = contents_of(self._root, table.table)
        else:
            error = VersionNotFound(table.table, table.current, table.current)
            current = BackedUp(table.table, table.current, Outcome.UNREADABLE, error=error)
        yield self._noted(current)
        for version in () if now is None else now.others:
            if current.is_lacking and table.table not in self._writer.root.table_names():
                yield self._noted(BackedUp(table.table, version, Outcome.LEFT_OUT))  # it would be the current one
            elif (other := self._copied(table.table, version, bar)) is not None:
                yield self._noted(other)
        return None if current.is_lacking else now

    def _copied(self, table: str, version: str, bar: Bar) -> BackedUp | None:
        """Copy a version; None if it is gone."""
        try:
            with SourceVersion(self._root, table, version) as source:
                return self._copy(source, bar)
        except VersionGone:
            return None
        except SourceUnreadable as unreadable:
            return BackedUp(table, version, Outcome.UNREADABLE, error=unreadable.error)
        except TableDamaged as error:  # in the backup
            return BackedUp(table, version, Outcome.UNREADABLE, error=error)

    def _copy(self, source: SourceVersion, bar: Bar) -> BackedUp:
        key = VersionKey(source.stored.table, source.stored.version)
        if source.stored.manifest.is_attached:
            copy_attached(self._writer, key.table, source.stored.manifest)
            return BackedUp(*key, Outcome.ATTACHED)
        if not source.is_whole and key in self._copies_there:
            self._copies.add(key)
        copy = VersionCopy(source, self._root, self._writer, self._pace, batch_bytes=self._batch_bytes)
        with bar(f"copying {key.table}") as progress:
            is_new = copy.run(progress)
        return BackedUp(*key, Outcome.COPIED if is_new else Outcome.THERE, copy.bytes_copied)

    def _keep_cluster(self) -> None:
        newest = KnownMap(self._root.path).newest
        if newest is not None:
            KnownMap(self._writer.root.path).take(newest)
        cluster_id = KeptClusterId(self._root.path).value
        if cluster_id:
            KeptClusterId(self._writer.root.path).take(cluster_id)

    def _removed(self, found: Contents) -> Iterator[BackedUp]:
        to = self._writer.root
        versions = {each.table: {each.current, *each.others} for each in found.tables}
        for table in to.table_names():
            if table not in versions:
                self._writer.drop_table(table)
                yield BackedUp(table, "", Outcome.REMOVED)
                continue
            for version in to.versions(table):
                if version not in versions[table] and version != to.current_version(table):
                    self._writer.drop(table, version)
                    yield BackedUp(table, version, Outcome.REMOVED)

    def _noted(self, backed_up: BackedUp) -> BackedUp:
        self.lacking += backed_up.is_lacking
        return backed_up
