"""Replies to the lookups of one call: from RAM at once, or from a disk in a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from engram_store import codec
from store_server import failures
from store_server.access.caller import Scope
from store_server.catalog import Catalog
from store_server.failures import CallFailed
from store_server.limits.load import BYTES_OF_ANY_REPLY, BYTES_OF_ANY_REQUEST
from store_server.observing.lookup_counts import LookupCounts, Source
from store_server.observing.request_log import SLOW_SECONDS
from store_server.open_version import OpenVersion
from store_server.services.call import Call
from store_server.storage import BackendClosed, StorageError, StorageFailure, TableDamaged, VersionUnavailable

if TYPE_CHECKING:
    from store_server.observing.lookup_spans import CallSpans

_FilledReply: TypeAlias = Callable[[list[codec.Answer]], bytes | None]
_Decoded = TypeVar("_Decoded")
_LOOKS: Final = 3  # at a version that is closed between being found and being read; it is replaced once at most


class Answers:
    """Answers lookups of a caller from the versions of a catalog. Messages stay bytes: the codec works in place.

    Rows known to be in RAM are gathered on the event loop, which is quicker than any hop to a thread; rows that may
    have to come from disk, and versions that have to be opened first, are left to the threads of `executor`, so that
    the loop never waits for a disk. `epoch` returns that of the shard map that the node knows, 0 for none. `counts` is
    told what came of each, and so is `spans` of those that are traced.
    """

    def __init__(
        self,
        catalog: Catalog,
        executor: Executor,
        epoch: Callable[[], int],
        counts: LookupCounts,
        call: Call,
        spans: CallSpans | None = None,
    ) -> None:
        self._catalog = catalog
        self._executor = executor
        self._epoch = epoch
        self._counts = counts
        self._call = call
        self._spans = spans

    async def to_one(self, message: bytes) -> bytes:
        """Return the LookupResponse to a LookupRequest. Raises CallFailed."""
        read_at = time.perf_counter()
        request = self._traced(self._read(codec.decode_lookup_request, message))
        try:
            source, reply = await self._to_one(request, len(message))
        except CallFailed as failed:
            self._note_refusal(request, failed)
            raise
        self._counts.answered(source, time.perf_counter() - read_at)
        return reply

    async def _to_one(self, request: codec.Request, message_bytes: int) -> tuple[Source, bytes]:
        load, num_bytes = self._call.load, self.reply_bytes(request)
        cost = (message_bytes if num_bytes is None else num_bytes) + BYTES_OF_ANY_REQUEST
        await self._call.take_room(BYTES_OF_ANY_REPLY if num_bytes is None else num_bytes)
        if not load.has_loop_turn_now(cost):
            await load.loop_turn(cost)
        reply = self._from_ram([request], lambda answers: codec.fill_lookup_reply(*answers))
        if reply is not None:
            return "ram", reply
        async with load.disk_turn(cost):
            return "disk", await self._from_disk(request, codec.encode_lookup_reply)

    def _traced(self, request: codec.Request) -> codec.Request:
        """Return the request of a single call with the span that its metadata names."""
        if self._spans is None:
            return request
        metadata = dict(self._call.context.invocation_metadata() or ())
        request = request._replace(traceparent=str(metadata.get("traceparent", "")))
        self._spans.read([request])
        return request

    def requests_in(self, message: bytes) -> list[codec.Request]:
        """See Lookups.requests_in."""
        requests = self._read(codec.decode_stream_requests, message)
        if self._spans is not None:
            self._spans.read(requests)
        return requests

    def given_up_in(self, message: bytes) -> list[int] | None:
        """See Lookups.given_up_in, which is asked of every message first."""
        self._call.received(message)
        return self._read(codec.decode_given_up, message)

    def reply_bytes(self, request: codec.Request) -> int | None:
        """See Lookups.reply_bytes. What the caller may not read goes the way of what is not there."""
        if not self._call.caller.may(Scope.READ, request.table):
            return None
        try:
            version = self._catalog.find(request.table, request.version)
        except StorageError:
            return None
        return None if version is None else request.rows.size * version.manifest.row_bytes

    def answer_at_once(self, requests: Sequence[codec.Request]) -> bytes | None:
        """See Lookups.answer_at_once. Several of which one fails cannot be answered together."""
        try:
            return self._from_ram(requests, codec.fill_stream_replies)
        except CallFailed as failed:
            return self.refusal(requests[0], failed) if len(requests) == 1 else None

    async def answer(self, request: codec.Request) -> bytes:
        """See Lookups.answer."""
        try:
            return await self._from_disk(request, partial(codec.encode_stream_reply, request.id))
        except CallFailed as failed:
            return self.refusal(request, failed)

    def refusal(self, request: codec.Request, failed: CallFailed) -> bytes:
        """See Lookups.refusal."""
        if self._spans is not None:
            self._spans.failed(request, failed.failure.reason)
        failure = failures.as_known(failed, self._call.context.invocation_metadata).failure
        self._counts.failed(failure.reason)
        self._call.observed.failed(failure)
        return codec.encode_stream_failure(request.id, failure)

    def _note_refusal(self, request: codec.Request, failed: CallFailed) -> None:
        self._counts.failed(failed.failure.reason)
        if self._spans is not None:
            self._spans.failed(request, failed.failure.reason)

    def answered(self, source: Source, seconds: float, lookups: int) -> None:
        """See Lookups.answered."""
        self._counts.answered(source, seconds, lookups)
        if seconds > SLOW_SECONDS:
            self._call.observed.slow(seconds)

    def _read(self, decode: Callable[[bytes], _Decoded], message: bytes) -> _Decoded:
        try:
            return decode(message)
        except codec.MalformedMessage as error:
            failed = failures.malformed_request(error)
            self._counts.failed(failed.failure.reason)
            raise failed from error

    async def _from_disk(self, request: codec.Request, encode: Callable[[str, NDArray[np.uint8]], bytes]) -> bytes:
        def gathered() -> tuple[bytes, int, int]:
            began = time.time_ns()
            version, rows = self._gathered(request)
            return encode(version, rows), rows.shape[1], began

        reply, row_bytes, began = await asyncio.get_running_loop().run_in_executor(self._executor, gathered)
        self._counts.found(request.table, "disk", request.rows.size, row_bytes)
        if self._spans is not None:
            self._spans.answered(request, "disk", began, time.time_ns())
        return reply

    def _from_ram(self, requests: Sequence[codec.Request], filled: _FilledReply) -> bytes | None:
        """Return the reply, or None if a version has to be opened or some rows may lie on a disk.

        Every lookup comes here before it goes anywhere else, and what its caller may not read ends here.
        """
        try:
            answers = []
            for request in requests:
                self._call.require(Scope.READ, request.table)
                version = self._catalog.find(request.table, request.version)
                if version is None:
                    return None
                gather = partial(version.backend.gather_from_ram, request.rows)
                shape = _shape_of_reply(request, version)
                answers.append(codec.Answer(request.id, version.version, shape, gather))
            began = 0 if self._spans is None else time.time_ns()
            reply = filled(answers)
        except BackendClosed:
            return None  # dropped or replaced just now: the other way looks once more
        except StorageError as error:
            raise failures.of_storage(error, self._epoch()) from error
        if reply is not None:
            for request, answer in zip(requests, answers, strict=True):
                self._counts.found(request.table, "ram", *answer.shape)
                if self._spans is not None:
                    self._spans.answered(request, "ram", began, time.time_ns())
        return reply

    def _gathered(self, request: codec.Request) -> tuple[str, NDArray[np.uint8]]:
        """Return the version and its rows, from disk if need be."""
        try:
            for _ in range(_LOOKS):
                version = self._catalog.open(request.table, request.version)
                out = np.empty(_shape_of_reply(request, version), np.uint8)
                try:
                    version.backend.gather(request.rows, out)
                except BackendClosed:
                    continue  # dropped or replaced since it was found
                except TableDamaged as error:
                    self._catalog.unreadable.say(version, error)
                    raise
                except StorageFailure as error:
                    self._catalog.unreadable.say(version, error)
                    raise VersionUnavailable(version.table, version.version, str(error)) from error
                return version.version, out
            raise VersionUnavailable(request.table, request.version, "closed whenever it was found")
        except StorageError as error:
            raise failures.of_storage(error, self._epoch()) from error


def _shape_of_reply(request: codec.Request, version: OpenVersion) -> tuple[int, int]:
    """Return (n, row_bytes), once all the rows are known to be in the version; raises CallFailed."""
    rows = request.rows
    if rows.size > version.max_rows_per_lookup:
        raise failures.request_too_large(request.table, rows.size, version.max_rows_per_lookup)
    if rows.size:
        # As unsigned numbers, so that one comparison also catches those that int64 shows as negative. By argmax: max is
        # a ufunc, whose machinery takes a small lookup as long as gathering its rows.
        numbers = rows.view(np.uint64)
        highest = int(numbers[numbers.argmax()])
        if highest >= version.manifest.num_rows:
            raise failures.row_out_of_range(request.table, highest, version.manifest.num_rows)
    return rows.size, version.manifest.row_bytes
