"""LookupService: rows of tables, one request at a time or many over a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final, TypeAlias

import grpc
import numpy as np
from numpy.typing import NDArray

from engram_store import codec
from store_server import failures
from store_server.catalog import Catalog, OpenVersion
from store_server.failures import LookupFailed
from store_server.services.reply_stream import ReplyStream
from store_server.storage import StorageError

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
SERVICE: Final = "engram_store.v1.LookupService"


class LookupService:
    """Answers lookups from the versions of a catalog.

    Rows known to be in RAM are gathered on the event loop, which is quicker than any hop to a thread; rows that may
    have to come from disk are gathered by the threads of `executor`, so that the loop never waits for a disk.
    """

    def __init__(self, catalog: Catalog, executor: Executor) -> None:
        self._catalog = catalog
        self._executor = executor
        self._streams: set[ReplyStream] = set()
        self._draining = False

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what serves this service. Messages stay bytes: the codec reads and writes them in place."""
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Lookup": grpc.unary_unary_rpc_method_handler(self._lookup),
            "LookupStream": grpc.stream_stream_rpc_method_handler(self._lookup_stream),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def drain(self) -> None:
        """Let each open stream finish what it has begun, then end it."""
        self._draining = True
        for stream in self._streams:
            stream.drain()

    async def _lookup(self, message: bytes, context: Context) -> bytes:
        try:
            request = _decoded(codec.decode_lookup_request, message)
            version = self._checked(request)
            rows = _gather_from_ram(version, request.rows)
            if rows is not None:
                return codec.encode_lookup_reply(version.version, rows)
            return await asyncio.get_running_loop().run_in_executor(self._executor, _reply, request, version)
        except LookupFailed as failed:
            await failures.abort(context, failed)

    async def _lookup_stream(self, _: object, context: Context) -> None:
        if self._draining:
            await failures.abort(context, failures.shutting_down())
        stream = ReplyStream(context, self._answer_at_once, self._answer)
        self._streams.add(stream)
        try:
            await stream.run()
        finally:
            self._streams.discard(stream)
        if stream.unreadable is not None:
            await failures.abort(context, stream.unreadable)
        if self._draining:
            await failures.abort(context, failures.shutting_down())

    def _answer_at_once(self, message: bytes) -> bytes | None:
        """Return the reply, or None if the rows may lie on a disk. Raises LookupFailed for an unreadable message."""
        request = _decoded(codec.decode_stream_request, message)
        try:
            version = self._checked(request)
            rows = _gather_from_ram(version, request.rows)
        except LookupFailed as failed:
            return codec.encode_stream_failure(request.id, failed.failure)
        return None if rows is None else codec.encode_stream_reply(request.id, version.version, rows)

    async def _answer(self, message: bytes) -> bytes:
        request = codec.decode_stream_request(message)
        try:
            version = self._checked(request)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, _stream_reply, request, version)
        except LookupFailed as failed:
            return codec.encode_stream_failure(request.id, failed.failure)

    def _checked(self, request: codec.Request) -> OpenVersion:
        """Return the version that `request` is for, once all its rows are known to be in it; raises LookupFailed."""
        try:
            version = self._catalog.find(request.table, request.version)
        except StorageError as error:
            raise failures.of_storage(error) from error
        if request.rows.size > version.max_rows_per_lookup:
            raise failures.request_too_large(request.table, request.rows.size, version.max_rows_per_lookup)
        if request.rows.size:
            # As unsigned numbers, so that one comparison also catches those that int64 shows as negative.
            highest = int(request.rows.view(np.uint64).max())
            if highest >= version.manifest.num_rows:
                raise failures.row_out_of_range(request.table, highest, version.manifest.num_rows)
        return version


def _reply(request: codec.Request, version: OpenVersion) -> bytes:
    return codec.encode_lookup_reply(version.version, _gather(version, request.rows))


def _stream_reply(request: codec.Request, version: OpenVersion) -> bytes:
    return codec.encode_stream_reply(request.id, version.version, _gather(version, request.rows))


def _gather(version: OpenVersion, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    out = np.empty((rows.size, version.manifest.row_bytes), np.uint8)
    try:
        version.backend.gather(rows, out)
    except StorageError as error:
        raise failures.of_storage(error) from error
    return out


def _gather_from_ram(version: OpenVersion, rows: NDArray[np.int64]) -> NDArray[np.uint8] | None:
    """Return the rows, or None if some may lie on a disk."""
    out = np.empty((rows.size, version.manifest.row_bytes), np.uint8)
    try:
        return out if version.backend.gather_from_ram(rows, out) else None
    except StorageError as error:
        raise failures.of_storage(error) from error


def _decoded(decode: Callable[[bytes], codec.Request], message: bytes) -> codec.Request:
    try:
        return decode(message)
    except codec.MalformedMessage as error:
        raise failures.malformed_request(error) from error
