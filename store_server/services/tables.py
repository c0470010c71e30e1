"""TableService: which tables the node holds, and what each of them is."""

from __future__ import annotations

import asyncio
from typing import Final

import grpc

from engram_store.shard_map import ShardedVersion, ShardMap, VersionKey
from engram_store.v1 import table_service_pb2 as pb
from store_server import failures
from store_server.access.caller import Scope
from store_server.catalog import Catalog
from store_server.cluster.known_map import KnownMap
from store_server.open_version import OpenVersion
from store_server.services.call import Call
from store_server.services.calls import Calls, parsed
from store_server.services.draining import Draining
from store_server.services.shared_look import SharedLook
from store_server.services.under_way import CallsUnderWay
from store_server.storage import StorageError, VersionNotFound

SERVICE: Final = "engram_store.v1.TableService"
_LOOK_SECONDS: Final = 2.0  # how long a look at the data root is waited for
_NO_TABLE: Final = "\0"
_LOOK_SECONDS_FOR_MORE: Final = 0.5  # by who would do with what is served already


class TableService:
    """Describes the versions of a catalog, after a look at the data root: what was just published is found at once.

    A node that knows the shard map of its cluster describes what the cluster has, whatever the node itself holds of it.
    """

    def __init__(
        self,
        catalog: Catalog,
        under_way: CallsUnderWay,
        draining: Draining,
        *,
        known: KnownMap | None = None,
        is_one_of_several: bool = False,
    ) -> None:
        self.workers: pb.Workers | None = None
        """What clients are told of the processes of this node; None if there is but one, or they are not known yet."""
        self._is_one_of_several = is_one_of_several
        self._catalog = catalog
        self._known = known
        self._under_way = under_way
        self._draining = draining
        self._look = SharedLook(catalog)

    def handler(self, calls: Calls) -> grpc.GenericRpcHandler:
        """Return what serves this service."""
        methods = {
            "ListTables": calls.one_reply(SERVICE, "ListTables", Scope.READ, self._list_tables),
            "GetTable": calls.one_reply(SERVICE, "GetTable", Scope.READ, self._get_table),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    @property
    def is_ready(self) -> bool:
        """Tell whether clients may ask: a part that does not name the others would be taken for the whole."""
        return self._unknown is None

    async def _list_tables(self, message: bytes, call: Call) -> bytes:
        self._require_ready()
        parsed(pb.ListTablesRequest(), message)
        if (shard_map := self._map()) is not None:
            tables = [_table_of_cluster(version) for version in shard_map.current_versions()]
        else:
            with self._under_way.one_more():
                await self._look.wait(_LOOK_SECONDS)
            # What cannot be read is not offered; the health service and the log name it.
            current = [self._catalog.tables[name].opened_current() for name in sorted(self._catalog.tables)]
            tables = [_table(found) for found in current if found is not None]
        return self._listed([table for table in tables if call.caller.may(Scope.READ, table.name)])

    async def _get_table(self, message: bytes, call: Call) -> bytes:
        self._require_ready()
        request = parsed(pb.GetTableRequest(), message)
        if (shard_map := self._map()) is not None:
            is_hidden = not call.caller.may(Scope.READ, request.name)
            found = _in_map(shard_map, request.name, request.version, is_hidden=is_hidden)
            return self._described(_table_of_cluster(found))
        with self._under_way.one_more():
            return self._described(_table(await self._found(call, request.name, request.version)))

    async def _found(self, call: Call, name: str, version: str) -> OpenVersion:
        """Return a version after a look at the data root, opened if need be. Raises CallFailed.

        What the caller may not read takes as long as what is not there: the look is waited for all the same.
        """
        is_served = call.caller.may(Scope.READ, name) and self._is_served(name, version)
        await self._look.wait(_LOOK_SECONDS_FOR_MORE if is_served else _LOOK_SECONDS)
        call.require(Scope.READ, name)
        try:
            found = self._catalog.find(name, version)
            return found if found is not None else await asyncio.to_thread(self._catalog.open, name, version)
        except StorageError as error:
            raise failures.of_storage(error) from error

    def _map(self) -> ShardMap | None:
        return None if self._known is None else self._known.newest

    def _epoch(self) -> int:
        return 0 if self._known is None else self._known.epoch

    def _listed(self, tables: list[pb.Table]) -> bytes:
        return pb.ListTablesResponse(
            tables=tables, workers=self.workers, map_epoch=self._epoch(), draining=self._draining.is_announced
        ).SerializeToString()

    def _described(self, table: pb.Table) -> bytes:
        return pb.GetTableResponse(
            table=table, workers=self.workers, map_epoch=self._epoch(), draining=self._draining.is_announced
        ).SerializeToString()

    @property
    def _unknown(self) -> failures.CallFailed | None:
        """What clients have to wait for, None for nothing."""
        if self._is_one_of_several and self.workers is None:
            return failures.starting()
        if self._known is not None and self._known.newest is None:
            return failures.starting("the shard map of its cluster")
        return None

    def _require_ready(self) -> None:
        if (unknown := self._unknown) is not None:
            raise unknown

    def _is_served(self, name: str, version: str) -> bool:
        try:
            return self._catalog.find(name, version) is not None
        except StorageError:
            return False


def _in_map(shard_map: ShardMap, name: str, version: str, *, is_hidden: bool) -> ShardedVersion:
    """Return a version; one that is hidden is looked for in vain, on the way of one that is not there."""
    table = _NO_TABLE if is_hidden else name
    current = shard_map.current(table)
    found = shard_map.versions.get(VersionKey(table, version or current or ""))
    if found is not None:
        return found
    if current is None and all(key.table != table for key in shard_map.versions):
        raise failures.table_not_found(name, f"the nodes of cluster {shard_map.cluster!r}")
    raise failures.of_storage(VersionNotFound(name, version, current))


def _table_of_cluster(version: ShardedVersion) -> pb.Table:
    return pb.Table(
        name=version.table,
        version=version.version,
        num_rows=version.num_rows,
        row_bytes=version.row_bytes,
        row_format=version.row_format,
        fingerprint=version.fingerprint,
        backend="cluster",
        max_rows_per_lookup=version.max_rows_per_lookup,
    )


def _table(found: OpenVersion) -> pb.Table:
    manifest = found.manifest
    return pb.Table(
        name=found.table,
        version=found.version,
        num_rows=manifest.num_rows,
        row_bytes=manifest.row_bytes,
        row_format=manifest.row_format,
        fingerprint=manifest.fingerprint,
        backend=found.backend.kind,
        max_rows_per_lookup=found.max_rows_per_lookup,
    )
