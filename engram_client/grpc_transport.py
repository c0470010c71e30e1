"""Rows over gRPC from one node, by a connection that is made anew when what it shows the node has changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from engram_client.allocator import keep_message_memory
from engram_client.arrays import Int64Array, Uint8Array
from engram_client.at_once import begin
from engram_client.errors import (
    InvalidTableName,
    ProtocolError,
    StoreClosed,
    TimeLimitExceeded,
    Unauthenticated,
    Unavailable,
    VersionNotFound,
    WrongLoop,
)
from engram_client.fork import ForkGuard
from engram_client.grpc_connection import GrpcConnection
from engram_client.keyring import Keyring
from engram_client.pieces import Piece, cut
from engram_client.retry import check_timeout, once, with_retries
from engram_client.retry_counts import RetryCounts
from engram_client.table_info import TableInfo
from engram_store.v1 import cluster_service_pb2 as cluster_pb
from engram_store.v1 import table_service_pb2 as pb

_SHORTEST_WAIT_SECONDS: Final = 0.001
_Response = TypeVar("_Response", bound=Message)
_Result = TypeVar("_Result")


class GrpcTransport:
    """Speaks to one node. Connects on the first call, so that it can be made before a fork or outside a loop.

    Once `keyring` has newer credentials, what begins then goes by a new connection; the one before is closed when all
    that is under way on it has ended.
    """

    def __init__(
        self,
        target: str,
        *,
        retries: bool = True,
        keyring: Keyring | None = None,
        counts: RetryCounts | None = None,
    ) -> None:
        """`counts` takes note of rows that are asked for again."""
        self.workers = pb.Workers()  # what the node said last of its processes
        self.map_epoch = 0  # and of its cluster
        self.draining = False  # and whether it is about to stop
        self._retries = retries
        self._counts = counts
        self._target = target
        self._keyring = keyring or Keyring()
        self._guard = ForkGuard()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: GrpcConnection | None = None
        self._former: set[GrpcConnection] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self._closed = False

    async def list_tables(self, timeout: float) -> list[TableInfo]:
        """Describe the current version of every table, ordered by name."""
        response = await self.call("ListTables", pb.ListTablesRequest(), pb.ListTablesResponse, timeout)
        self.workers, self.map_epoch, self.draining = response.workers, response.map_epoch, response.draining
        return [_info(table) for table in response.tables]

    async def get_table(self, name: str, version: str, timeout: float) -> TableInfo:
        """Describe one version of a table; "" is the current one."""
        response = await self.call("GetTable", _get_table_request(name, version), pb.GetTableResponse, timeout)
        self.workers, self.map_epoch, self.draining = response.workers, response.map_epoch, response.draining
        return _info(response.table)

    async def get_shard_map(self, known_epoch: int, timeout: float) -> cluster_pb.GetShardMapResponse:
        """Return what the node knows of its cluster, the map only if it is newer than `known_epoch`."""
        request = cluster_pb.GetShardMapRequest(known_epoch=known_epoch)
        response = await self.call(
            "GetShardMap", request, cluster_pb.GetShardMapResponse, timeout, service="ClusterService"
        )
        self.draining = response.draining
        return response

    async def fetch(
        self,
        table: TableInfo,
        rows: Int64Array,
        out: Uint8Array,
        timeout: float,
        *,
        places: Int64Array | None = None,
        patience: float | None = None,
    ) -> None:
        """Put `rows` (n,) into `out` (n, row_bytes), in pieces of about 2 MiB that overlap on the wire.

        With `places` (n,) row i goes to out[places[i]]. If at some point nothing has come for `patience` seconds, that
        is TimeLimitExceeded already: for those who have somebody else to ask.
        """
        check_timeout(timeout)
        pieces = cut(table, rows, out, places)
        began = time.monotonic()
        try:
            # Nearly always the only attempt, whose limit the stream keeps: no task or timeout of its own to pay for.
            await self._fetch_once(table, pieces, timeout, patience)
        except TimeLimitExceeded as error:
            raise TimeLimitExceeded(f"{self._fetching(table, rows)}: {error}") from error
        except Unavailable as error:
            if not self._retries:
                raise
            attempt = partial(self._fetch_once, table, pieces, timeout, patience)
            gone = time.monotonic() - began
            what = self._fetching(table, rows)
            await with_retries(attempt, timeout, what, last=error, seconds_gone=gone, counts=self._counts)

    async def _fetch_once(self, table: TableInfo, pieces: list[Piece], timeout: float, patience: float | None) -> None:
        began = time.monotonic()
        # Rows that arrived before a break are kept: the version never changes, so they are still right.
        try:
            await self._fetch_on_stream(table, pieces, timeout, patience)
        except VersionNotFound:
            # A worker of the node may not have seen yet what another one has published; asked for a description, it
            # looks. If it still does not know the version, that is the answer.
            await self.get_table(table.name, table.version, _left(timeout, began))
            await self._fetch_what_is_described(table, pieces, _left(timeout, began))

    async def _fetch_what_is_described(self, table: TableInfo, pieces: list[Piece], timeout: float) -> None:
        try:
            await self._fetch_on_stream(table, pieces, timeout)
        except VersionNotFound as error:  # found by who described it and not by who was asked, or just dropped
            if not self._retries:  # a node of a cluster describes what others hold, too
                raise
            raise Unavailable(f"the node describes the version and does not find it: {error}") from error

    async def _fetch_on_stream(
        self, table: TableInfo, pieces: list[Piece], timeout: float, patience: float | None = None
    ) -> None:
        fetch = partial(GrpcConnection.fetch, table=table, pieces=pieces, timeout=timeout, patience=patience)
        self.draining = await self._by_connection(fetch)

    def _fetching(self, table: TableInfo, rows: Int64Array) -> str:
        return f"fetching {len(rows)} rows of table {table.name!r} from {self._target}"

    async def close(self) -> None:
        """Close all connections; what is under way fails with StoreClosed.

        Raises WrongLoop in another loop than theirs, unless that one is closed: then nothing of them is left to close.
        """
        is_orphaned = self._loop is not None and self._loop.is_closed()
        if not is_orphaned:
            self._check_loop()
        self._closed = True
        connection, self._connection = self._connection, None
        if is_orphaned:
            return
        for each in (connection, *self._former):
            if each is not None:
                await each.close()
        if self._retiring:
            await asyncio.wait(self._retiring)

    async def call(
        self,
        method: str,
        request: Message,
        response: type[_Response],
        timeout: float,
        *,
        service: str = "TableService",
    ) -> _Response:
        """Return the node's answer to a method that takes one message and returns one."""
        path = f"/engram_store.v1.{service}/{method}"

        async def attempt() -> _Response:
            call = partial(GrpcConnection.call, path=path, request=request.SerializeToString(), timeout=timeout)
            try:
                return response.FromString(await self._by_connection(call))
            except asyncio.CancelledError:
                # Closing the channel cancels what is under way; so may the caller, at the same moment.
                task = asyncio.current_task()
                if self._closed and task is not None and not task.cancelling():
                    raise StoreClosed(f"the store at {self._target} was closed") from None
                raise
            except DecodeError as error:
                raise ProtocolError(f"{self._target}: the answer to {method} is no {response.__name__}") from error

        return await (with_retries if self._retries else once)(attempt, timeout, f"{method} at {self._target}")

    async def _by_connection(self, act: Callable[[GrpcConnection], Awaitable[_Result]]) -> _Result:
        """Return what `act` returns; if the node does not accept credentials that are out of date, with newer ones."""
        connection = self._connected()
        try:
            return await act(connection)
        except Unauthenticated:
            if not self._keyring.has_newer_than(connection.credentials):
                raise
        return await act(self._connected())

    def _connected(self) -> GrpcConnection:
        if self._closed:
            raise StoreClosed(f"the store at {self._target} is closed")
        self._guard.start_grpc()
        self._check_loop()
        credentials = self._keyring.newest()
        if self._connection is not None and self._connection.credentials is not credentials:
            self._former.add(self._connection)
            begin(self._retire(self._connection), self._retiring)
            self._connection = None
        if self._connection is None:
            keep_message_memory()
            self._loop = asyncio.get_running_loop()
            self._connection = GrpcConnection(self._target, self._keyring.security, credentials)
        return self._connection

    async def _retire(self, connection: GrpcConnection) -> None:
        try:
            await connection.close_when_idle()
        finally:
            self._former.discard(connection)

    def _check_loop(self) -> None:
        if self._loop not in (None, asyncio.get_running_loop()):
            raise WrongLoop(f"the store at {self._target} belongs to another event loop; connect once in each loop")


def _left(timeout: float, began: float) -> float:
    return max(timeout - (time.monotonic() - began), _SHORTEST_WAIT_SECONDS)


def _get_table_request(name: str, version: str) -> pb.GetTableRequest:
    try:
        return pb.GetTableRequest(name=name, version=version)
    except ValueError as error:  # a lone surrogate
        raise InvalidTableName(f"a table and its version are named by text, got {name!r} and {version!r}") from error


def _info(table: pb.Table) -> TableInfo:
    if table.num_rows < 1 or table.row_bytes < 1 or table.max_rows_per_lookup < 1:
        raise ProtocolError(
            f"table {table.name!r} was described with {table.num_rows} rows of {table.row_bytes} bytes, "
            f"{table.max_rows_per_lookup} a lookup; each must be at least 1"
        )
    return TableInfo(
        name=table.name,
        version=table.version,
        num_rows=table.num_rows,
        row_bytes=table.row_bytes,
        row_format=table.row_format,
        fingerprint=table.fingerprint,
        backend=table.backend,
        max_rows_per_lookup=table.max_rows_per_lookup,
    )
