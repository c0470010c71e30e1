"""BlockService: whole blocks of versions, for nodes that are to hold them too."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Final, TypeAlias, TypeVar

import grpc
import numpy as np
import structlog
from numpy.typing import NDArray

from engram_store.codec import MalformedMessage
from engram_store.v1 import block_service_pb2 as pb
from store_server import failures
from store_server.access.caller import Scope
from store_server.services.call import Call
from store_server.services.calls import Calls, parsed
from store_server.storage import BlockDamaged, DataRoot, StorageError
from store_server.storage.files.version_files import VersionFiles, open_files
from store_server.storage.held_blocks import held_blocks
from store_server.storage.names import check_table_name
from store_server.storage.stored_version import StoredVersion

Quarantine: TypeAlias = Callable[[StoredVersion, int], None]
log = structlog.get_logger()
SERVICE: Final = "engram_store.v1.BlockService"
MOST_BLOCKS_A_CALL: Final = 1024
_CALLS_AT_ONCE: Final = 4  # that read a disk: lookups of others need it too
_MANIFESTS_AT_ONCE: Final = 2  # in the same threads, and behind no large copy
_Result = TypeVar("_Result")


class BlockService:
    """Reads blocks of the versions in `root` in the threads of `executor`, and compares each with its digest.

    `quarantine` is called, in such a thread, for a block that is not what was published; it is not sent.
    """

    def __init__(self, root: DataRoot, executor: Executor, quarantine: Quarantine) -> None:
        self._root = root
        self._executor = executor
        self._quarantine = quarantine
        self._turns = asyncio.Semaphore(_CALLS_AT_ONCE)
        self._manifest_turns = asyncio.Semaphore(_MANIFESTS_AT_ONCE)

    def handler(self, calls: Calls) -> grpc.GenericRpcHandler:
        """Return what serves this service."""
        methods = {
            "GetManifest": calls.one_reply(SERVICE, "GetManifest", Scope.REPLICATE, self._get_manifest),
            "ReadBlocks": calls.many_replies(SERVICE, "ReadBlocks", Scope.REPLICATE, self._read_blocks),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _get_manifest(self, message: bytes, call: Call) -> bytes:
        request = parsed(pb.GetManifestRequest(), message)
        call.require(Scope.REPLICATE, request.table)
        async with self._manifest_turns:
            manifest = await self._in_thread(self._manifest, request.table, request.version)
        return pb.GetManifestResponse(manifest=manifest).SerializeToString()

    async def _read_blocks(self, message: bytes, call: Call) -> None:
        request = parsed(pb.ReadBlocksRequest(), message)
        call.require(Scope.REPLICATE, request.table)
        reader = BlockReader(self._root, request, self._quarantine)
        async with self._turns:
            try:
                while (reply := await self._in_thread(reader.next_reply)) is not None:
                    await call.write(reply)
            finally:  # also when the caller has gone: a thread may be reading just now
                with contextlib.suppress(RuntimeError):  # the node is stopping, and its threads with it
                    self._executor.submit(reader.close)

    def _manifest(self, table: str, version: str) -> bytes:
        with _told_to_the_caller():
            return self._root.manifest(check_table_name(table), version).to_json()

    async def _in_thread(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)


class BlockReader:
    """The blocks of one call, one after the other. Called in threads; raises CallFailed."""

    def __init__(self, root: DataRoot, request: pb.ReadBlocksRequest, quarantine: Quarantine) -> None:
        self._root, self._request, self._quarantine = root, request, quarantine
        self._blocks: Iterator[tuple[int, NDArray[np.uint8]]] | None = None
        self._reading = threading.Lock()

    def next_reply(self) -> bytes | None:
        """Return the message with the next block that is held, None at the end."""
        with self._reading, _told_to_the_caller():
            if self._blocks is None:
                self._blocks = self._read()
            for block, rows in self._blocks:
                return pb.ReadBlocksResponse(block=block, rows=rows.tobytes()).SerializeToString()
            return None

    def close(self) -> None:
        """Close the files, once no thread reads them."""
        with self._reading:
            self._blocks = None

    def _read(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        request = self._request
        stored = self._root.stored_version(check_table_name(request.table), request.version)
        _check(request, stored)
        are_held = held_blocks(stored)[request.first_block :][: request.num_blocks]
        with contextlib.closing(open_files(stored)) as files:
            for block in (np.flatnonzero(are_held) + request.first_block).tolist():
                rows = self._rows_of(stored, files, block)
                if rows is not None:
                    yield block, rows

    def _rows_of(self, stored: StoredVersion, files: VersionFiles, block: int) -> NDArray[np.uint8] | None:
        """Return the rows of a block, None if it was given up meanwhile."""
        rows = np.empty((stored.manifest.rows_in_block(block), stored.manifest.row_bytes), np.uint8)
        try:
            files.read_checked_into(block, rows)
        except BlockDamaged as error:
            if not held_blocks(stored)[block]:
                return None
            log.error("bad block", error=str(error))
            self._quarantine(stored, block)
            raise
        return rows


def _check(request: pb.ReadBlocksRequest, stored: StoredVersion) -> None:
    if request.num_blocks > MOST_BLOCKS_A_CALL:
        detail = f"at most {MOST_BLOCKS_A_CALL} blocks in one call, got {request.num_blocks}"
        raise failures.malformed_request(MalformedMessage(detail))
    end, num_blocks = request.first_block + request.num_blocks, stored.manifest.num_blocks
    if end > num_blocks:
        detail = f"version {stored.version} has the blocks 0 to {num_blocks - 1}, got {end - 1}"
        raise failures.malformed_request(MalformedMessage(detail))
    if not stored.manifest.block_digests:
        raise failures.no_digests(stored.table, stored.version)


@contextlib.contextmanager
def _told_to_the_caller() -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        raise failures.of_storage(error) from error
