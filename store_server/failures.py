"""Failures as callers see them: a gRPC status, a sentence with the values, and a stable reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NoReturn, TypeAlias

import grpc
import structlog
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from engram_store.caller_knowledge import OVERLOADED, READS_NOTHING, known_by
from engram_store.codec import Failure
from store_server.storage import (
    InvalidTableName,
    RowsNotHeld,
    StorageError,
    TableDamaged,
    TableNotFound,
    VersionNotFound,
    VersionUnavailable,
)

log = structlog.get_logger()

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]] | None

DOMAIN: Final = "engram-store"
_DETAILS_KEY: Final = "grpc-status-details-bin"
_RETRY_SECONDS: Final = 0.1  # for the first try; clients double it, each with a random part of its own
# What a caller is told travels in the trailers of its call, several times over, and clients take some 8 KiB of those:
# of more they would see nothing but that it is too much.
_MESSAGE_BYTES: Final = 1_000
_VALUE_BYTES: Final = 300
# Callers that do not know these reasons go by the status, and would take it for a mistake of their own. They try again
# what is UNAVAILABLE.
_WORD_OF: Final = {"OVERLOADED": OVERLOADED, "READS_NOTHING": READS_NOTHING}


class CallFailed(Exception):
    """A request cannot be answered; carries what the caller is told, and after how many seconds to try again."""

    retry_seconds: float | None = None

    def __init__(self, code: grpc.StatusCode, reason: str, message: str, **metadata: object) -> None:
        super().__init__(message)
        values = {key: _cut(str(value), _VALUE_BYTES) for key, value in metadata.items()}
        self.failure = Failure(code.value[0], _cut(message, _MESSAGE_BYTES), reason, values)
        self.code = code


def _cut(text: str, most_bytes: int) -> str:
    """Return the text, or as much of it as has so many bytes."""
    encoded = text.encode(errors="replace")
    return text if len(encoded) <= most_bytes else encoded[:most_bytes].decode(errors="ignore") + "..."


def row_out_of_range(table: str, row: int, num_rows: int) -> CallFailed:
    """Return the failure for a row that the table does not have; `row` as an unsigned number."""
    message = f"table {table!r} has {num_rows} rows (0 to {num_rows - 1}), got {row}"
    return CallFailed(
        grpc.StatusCode.OUT_OF_RANGE, "ROW_OUT_OF_RANGE", message, table=table, row=row, num_rows=num_rows
    )


def request_too_large(table: str, rows: int, limit: int) -> CallFailed:
    """Return the failure for more rows than one lookup may ask for."""
    message = f"at most {limit} rows of table {table!r} in one lookup, got {rows}; split the request"
    return CallFailed(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "REQUEST_TOO_LARGE",
        message,
        table=table,
        rows=rows,
        max_rows_per_lookup=limit,
    )


def overloaded(limit: str, most: int, taken: int) -> CallFailed:
    """Return the failure for work beyond what the node takes at once: `taken` of the `most` that a setting allows."""
    message = f"the node is busy: of --{limit} {most}, {taken} are taken; try again in {_RETRY_SECONDS:g} s"
    retry_ms = round(_RETRY_SECONDS * 1000)
    failed = CallFailed(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", message, limit=limit, retry_ms=retry_ms)
    failed.retry_seconds = _RETRY_SECONDS
    return failed


def too_many_watches(most: int) -> CallFailed:
    """Return the failure for one call of Watch more than there may be of one caller, or of all."""
    message = f"too many calls of Watch: at most {most} at a time, half of them of one caller; ask with Check"
    return CallFailed(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHES", message)


def given_up() -> CallFailed:
    """Return the failure for a lookup that its client gave up before it was begun."""
    return CallFailed(grpc.StatusCode.CANCELLED, "GIVEN_UP", "given up by the client, and not begun")


def malformed_request(error: Exception) -> CallFailed:
    """Return the failure for bytes that are not the message they should be."""
    return CallFailed(grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST", str(error), detail=error)


def unauthenticated(detail: str) -> CallFailed:
    """Return the failure for a caller that does not show who it is; `detail` holds no secret."""
    return CallFailed(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", detail)


def permission_denied(caller: str, scope: str) -> CallFailed:
    """Return the failure for a caller whose rights do not include a scope on any table."""
    message = f"{caller} has no right to {scope}; whoever runs the node can give it one"
    return CallFailed(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", message, scope=scope)


def change_refused(reason: str) -> CallFailed:
    """Return the failure for a change that the caller may not make; `reason` says why, and what it takes."""
    return CallFailed(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", reason, scope="admin")


def change_failed(reason: object) -> CallFailed:
    """Return the failure for a change that is allowed and cannot be made; `reason` may name paths of the node."""
    return CallFailed(grpc.StatusCode.FAILED_PRECONDITION, "CHANGE_FAILED", str(reason))


def changes_elsewhere() -> CallFailed:
    """Return the failure for a change that is asked for where lookups are."""
    message = "this node takes changes at an address of its own alone, that of its --admin-listen: ask there"
    return CallFailed(grpc.StatusCode.UNIMPLEMENTED, "CHANGES_ELSEWHERE", message)


def reads_nothing(seconds: float) -> CallFailed:
    """Return the failure for a caller that leaves its replies unread for so long."""
    message = f"the caller read nothing for {seconds:g} s"
    return CallFailed(grpc.StatusCode.DEADLINE_EXCEEDED, "READS_NOTHING", message)


def shutting_down() -> CallFailed:
    """Return the failure for work that comes after the node was told to stop."""
    return CallFailed(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN", "the node is shutting down")


def starting(what: str = "where its workers listen") -> CallFailed:
    """Return the failure for what a node cannot tell before it was told itself, by default a worker of the others."""
    message = f"the node is starting and does not know yet {what}; try again"
    return CallFailed(grpc.StatusCode.UNAVAILABLE, "STARTING", message)


def table_not_found(table: str, where: str) -> CallFailed:
    """Return the failure for a table that is not there."""
    message = f"no table {table!r} on {where}"
    return CallFailed(grpc.StatusCode.NOT_FOUND, "TABLE_NOT_FOUND", message, table=table)


def rows_not_held(error: RowsNotHeld, epoch: int) -> CallFailed:
    """Return the failure for rows that another node holds; `epoch` is that of this node's shard map, 0 for none."""
    values = {"table": error.table, "version": error.version, "row": error.row, "epoch": epoch}
    message = f"{error}; the shard map of this node has epoch {epoch}"
    return CallFailed(grpc.StatusCode.FAILED_PRECONDITION, "ROWS_NOT_HELD", message, **values)


def no_digests(table: str, version: str) -> CallFailed:
    """Return the failure for blocks of an attached version that nobody could compare with anything."""
    message = (
        f"version {version} of table {table!r} was attached and has no digests yet, so nobody could tell its blocks "
        "from damaged ones; run `engram-store verify` on this node first"
    )
    return CallFailed(grpc.StatusCode.UNAVAILABLE, "VERSION_UNAVAILABLE", message, table=table, version=version)


def of_storage(error: StorageError, epoch: int = 0) -> CallFailed:
    """Return what a caller is told of an error of the storage; paths of the node stay out of it.

    `epoch` is that of the node's shard map, for who asked for rows that another node holds.
    """
    match error:
        case RowsNotHeld():
            return rows_not_held(error, epoch)
        case TableNotFound():
            return table_not_found(error.table, "this node")
        case VersionNotFound():
            values = {"table": error.table, "version": error.version[:80], "current": error.current or ""}
            return CallFailed(grpc.StatusCode.NOT_FOUND, "VERSION_NOT_FOUND", str(error), **values)
        case InvalidTableName():
            return CallFailed(
                grpc.StatusCode.INVALID_ARGUMENT, "INVALID_TABLE_NAME", str(error), table=error.name[:300]
            )
        case TableDamaged():
            message = (
                f"version {error.version} of table {error.table!r} is damaged and not served; the node's log says why"
            )
            return CallFailed(
                grpc.StatusCode.DATA_LOSS, "TABLE_DAMAGED", message, table=error.table, version=error.version
            )
        case VersionUnavailable():
            message = f"version {error.version} of table {error.table!r} cannot be served now; the node's log says why"
            return CallFailed(
                grpc.StatusCode.UNAVAILABLE,
                "VERSION_UNAVAILABLE",
                message,
                table=error.table,
                version=error.version,
            )
        case _:  # nothing that storage raises may look like a mistake of the node's
            log.error("lookup failed", error=str(error), kind=type(error).__name__)
            message = "this cannot be served now; the node's log says why"
            return CallFailed(grpc.StatusCode.UNAVAILABLE, "VERSION_UNAVAILABLE", message)


def as_known(failed: CallFailed, metadata: Callable[[], Metadata]) -> CallFailed:
    """Return a failure as its caller understands it, going by the metadata of its call."""
    failure = failed.failure
    word = _WORD_OF.get(failure.reason)
    if word is None or word in known_by(metadata()):
        return failed
    known = CallFailed(grpc.StatusCode.UNAVAILABLE, failure.reason, failure.message, **failure.metadata)
    known.retry_seconds = failed.retry_seconds
    return known


async def abort(
    context: grpc.aio.ServicerContext[bytes, bytes], failed: CallFailed, metadata: Sequence[tuple[str, str]] = ()
) -> NoReturn:
    """End a call with `failed`: the status, and the reason as google.rpc.ErrorInfo in its details; and `metadata`."""
    failure = failed.failure
    status = Status(code=failure.code, message=failure.message)
    status.details.add().Pack(ErrorInfo(reason=failure.reason, domain=DOMAIN, metadata=dict(failure.metadata)))
    if failed.retry_seconds is not None:
        retry_delay = Duration()
        retry_delay.FromMilliseconds(round(failed.retry_seconds * 1000))
        status.details.add().Pack(RetryInfo(retry_delay=retry_delay))
    context.set_trailing_metadata(((_DETAILS_KEY, status.SerializeToString()), *metadata))
    await context.abort(failed.code, failure.message)
    raise AssertionError("abort always raises")
