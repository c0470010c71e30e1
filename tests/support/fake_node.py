"""A node at the lowest seam: a real gRPC server whose answers a test scripts, in protobuf's own words."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import numpy as np
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from numpy.typing import NDArray

from engram_store.caller_knowledge import known_by
from engram_store.v1 import lookup_service_pb2 as lookup
from engram_store.v1 import table_service_pb2 as tables

Send = Callable[[lookup.LookupStreamResponse | bytes], Awaitable[None]]
Script = Callable[[lookup.LookupStreamRequest, Send], Awaitable[None]]


class BreakStream(Exception):
    """Raised by a script to end the stream as a network would."""


class FakeNode:
    """Serves one table; each request on a stream starts a task that runs the script.

    Who asks for a description gets one of the `refusals`, a status and a reason, as long as there are any. With
    `tokens` only calls that bear one of these are let in.
    """

    def __init__(self, rows: NDArray[np.uint8], script: Script | None = None, max_rows_per_lookup: int = 1000) -> None:
        self.rows = rows
        self.script = script or self.answer_rightly
        self.requests: list[lookup.LookupStreamRequest] = []
        self.refusals: list[tuple[grpc.StatusCode, str]] = []
        self.tokens: set[str] | None = None
        self.denies = False  # whether callers have no right to call at all
        self.authorizations: list[str] = []  # what calls bore, those that were turned away included
        self.known: list[frozenset[str]] = []  # what they said that their callers know
        self.streams = self.open_streams = 0
        self.workers: tables.Workers | None = None
        self.draining = False
        self.may_list = asyncio.Event()  # a node that hangs is one whose is not set
        self.may_list.set()
        self.listed = 0
        self.listing = asyncio.Event()  # whether somebody has asked for that
        self.table = tables.Table(
            name="t",
            version="v1",
            num_rows=len(rows),
            row_bytes=rows.shape[1],
            backend="fake",
            max_rows_per_lookup=max_rows_per_lookup,
        )

    def right_answer(self, request: lookup.LookupStreamRequest) -> lookup.LookupStreamResponse:
        picked = self.rows[np.array(request.rows, np.int64)].tobytes()
        return lookup.LookupStreamResponse(id=request.id, version=request.version, rows=picked, draining=self.draining)

    async def answer_rightly(self, request: lookup.LookupStreamRequest, send: Send) -> None:
        await send(self.right_answer(request))

    @contextlib.asynccontextmanager
    async def listening(self, port: int = 0, credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[str]:
        """Serve as long as the block lasts, with TLS if there are `credentials`; gives the URL. Port 0 picks one."""
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        services = {
            "engram_store.v1.TableService": {
                "GetTable": grpc.unary_unary_rpc_method_handler(self._get_table),
                "ListTables": grpc.unary_unary_rpc_method_handler(self._list_tables),
            },
            "engram_store.v1.LookupService": {"LookupStream": grpc.stream_stream_rpc_method_handler(self._stream)},
        }
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items()]
        )
        if credentials is None:
            port = server.add_insecure_port(f"127.0.0.1:{port}")
        else:
            port = server.add_secure_port(f"127.0.0.1:{port}", credentials)
        await server.start()
        try:
            yield f"{'grpc' if credentials is None else 'grpcs'}://127.0.0.1:{port}"
        finally:
            await server.stop(None)

    async def _let_in(self, context: grpc.aio.ServicerContext) -> None:
        authorization = dict(context.invocation_metadata() or ()).get("authorization", "")
        self.known.append(known_by(context.invocation_metadata()))
        self.authorizations.append(authorization)
        if self.tokens is not None and authorization.removeprefix("Bearer ") not in self.tokens:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token that is known here")
        if self.denies:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not for you")

    async def _get_table(self, _request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await self._let_in(context)
        if self.refusals:
            code, reason = self.refusals.pop(0)
            status = Status(code=code.value[0])
            status.details.add().Pack(ErrorInfo(reason=reason, domain="engram-store"))
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            await context.abort(code, "no such luck")
        return tables.GetTableResponse(
            table=self.table, workers=self.workers, draining=self.draining
        ).SerializeToString()

    async def _list_tables(self, _request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await self._let_in(context)
        self.listed += 1
        self.listing.set()
        await self.may_list.wait()
        return tables.ListTablesResponse(
            tables=[self.table], workers=self.workers, draining=self.draining
        ).SerializeToString()

    async def _stream(self, _requests: object, context: grpc.aio.ServicerContext) -> None:
        await self._let_in(context)
        await context.send_initial_metadata((("x-said-by", "a node"),))  # real ones say something, too
        self.streams += 1
        self.open_streams += 1
        writing = asyncio.Lock()

        async def send(reply: lookup.LookupStreamResponse | bytes) -> None:
            async with writing:
                await context.write(reply if isinstance(reply, bytes) else reply.SerializeToString())

        answers: set[asyncio.Task[None]] = set()
        broken = asyncio.get_running_loop().create_future()

        def ended(answer: asyncio.Task[None]) -> None:
            answers.discard(answer)
            if not answer.cancelled() and isinstance(answer.exception(), BreakStream) and not broken.done():
                broken.set_result(None)

        async def read() -> None:
            while isinstance(message := await context.read(), bytes):
                request = lookup.LookupStreamRequest.FromString(message)
                self.requests.append(request)
                answer = asyncio.create_task(self.script(request, send))
                answers.add(answer)
                answer.add_done_callback(ended)

        reading = asyncio.create_task(read())
        try:
            await asyncio.wait((reading, broken), return_when=asyncio.FIRST_COMPLETED)
            if broken.done():
                async with writing:  # a write that is cut off would leave no room for the status
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the script broke the stream")
        finally:
            self.open_streams -= 1
            for task in (reading, *answers):
                task.cancel()
            await asyncio.gather(reading, *answers, return_exceptions=True)
