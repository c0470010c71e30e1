"""One channel to one node and one lookup stream on it, both made with the same credentials."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, TypeAlias

import grpc

from engram_client.call_end import END_SECONDS, answer_to, end_call
from engram_client.grpc_channel import open_channel
from engram_client.grpc_errors import error_of_call
from engram_client.lookup_stream import LookupStream
from engram_store.caller_knowledge import KNOWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engram_client.pieces import Piece
    from engram_client.security import Security
    from engram_client.table_info import TableInfo
    from engram_store.credential_files import Credentials

_Metadata: TypeAlias = tuple[tuple[str, str], ...]


class GrpcConnection:
    """Opens its stream anew whenever that breaks. Belongs to the running event loop; raises InsecureUrl."""

    def __init__(self, target: str, security: Security, credentials: Credentials) -> None:
        self.credentials = credentials
        self._target = target
        self._security = security
        self._metadata: _Metadata = KNOWS
        if credentials.token is not None:
            self._metadata = (*KNOWS, ("authorization", f"Bearer {credentials.token}"))
        self._channel = open_channel(target, security, credentials)
        self._stream: LookupStream | None = None
        self._calls: set[grpc.aio.UnaryUnaryCall[bytes, bytes]] = set()
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def call(self, path: str, request: bytes, timeout: float) -> bytes:
        """Return the answer to a call. Raises EngramError, and CancelledError where the connection was closed."""
        # Bytes in and out: a deserializer that fails inside gRPC would only show as an answer of None.
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(path)
        call = method(request, timeout=timeout, metadata=self._metadata)
        self._calls.add(call)
        self._begin()
        try:
            return await answer_to(call)
        except grpc.aio.AioRpcError as error:
            raise error_of_call(error, self._target, self._security) from error
        finally:
            self._calls.discard(call)
            self._end()

    async def fetch(self, table: TableInfo, pieces: Sequence[Piece], timeout: float, patience: float | None) -> bool:
        """Fill pieces as LookupStream.fetch does; returns whether the node said that it is about to stop."""
        stream = self._open_stream()
        self._begin()
        try:
            await stream.fetch(table, pieces, timeout, patience)
        finally:
            self._end()
        return stream.draining

    async def close_when_idle(self) -> None:
        """Close it once all that is under way has ended, which has time limits of its own."""
        await self._idle.wait()
        await self.close()

    async def close(self) -> None:
        """Close the stream and the channel; fetches under way fail with StoreClosed."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()
        for call in self._calls:
            end_call(call)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await self._idle.wait()
        await self._channel.close()

    def _open_stream(self) -> LookupStream:
        if self._stream is None or self._stream.broken is not None:
            method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(
                "/engram_store.v1.LookupService/LookupStream"
            )
            self._stream = LookupStream(method(metadata=self._metadata), self._target, self._security)
        return self._stream

    def _begin(self) -> None:
        self._under_way += 1
        self._idle.clear()

    def _end(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._idle.set()
