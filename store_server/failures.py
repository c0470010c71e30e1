"""Failures as callers see them: a gRPC status, a sentence with the values, and a stable reason."""

from __future__ import annotations

from typing import Final, NoReturn

import grpc
import structlog
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

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

DOMAIN: Final = "engram-store"
_DETAILS_KEY: Final = "grpc-status-details-bin"


class LookupFailed(Exception):
    """A request cannot be answered; carries what the caller is told."""

    def __init__(self, code: grpc.StatusCode, reason: str, message: str, **metadata: object) -> None:
        super().__init__(message)
        values = {key: str(value) for key, value in metadata.items()}
        self.failure = Failure(code.value[0], message, reason, values)
        self.code = code


def row_out_of_range(table: str, row: int, num_rows: int) -> LookupFailed:
    """Return the failure for a row that the table does not have; `row` as an unsigned number."""
    message = f"table {table!r} has {num_rows} rows (0 to {num_rows - 1}), got {row}"
    return LookupFailed(
        grpc.StatusCode.OUT_OF_RANGE, "ROW_OUT_OF_RANGE", message, table=table, row=row, num_rows=num_rows
    )


def request_too_large(table: str, rows: int, limit: int) -> LookupFailed:
    """Return the failure for more rows than one lookup may ask for."""
    message = f"at most {limit} rows of table {table!r} in one lookup, got {rows}; split the request"
    return LookupFailed(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "REQUEST_TOO_LARGE",
        message,
        table=table,
        rows=rows,
        max_rows_per_lookup=limit,
    )


def malformed_request(error: Exception) -> LookupFailed:
    """Return the failure for bytes that are not the message they should be."""
    return LookupFailed(grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST", str(error), detail=error)


def shutting_down() -> LookupFailed:
    """Return the failure for work that comes after the node was told to stop."""
    return LookupFailed(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN", "the node is shutting down")


def starting(what: str = "where its workers listen") -> LookupFailed:
    """Return the failure for what a node cannot tell before it was told itself, by default a worker of the others."""
    message = f"the node is starting and does not know yet {what}; try again"
    return LookupFailed(grpc.StatusCode.UNAVAILABLE, "STARTING", message)


def table_not_found(table: str, where: str) -> LookupFailed:
    """Return the failure for a table that is not there."""
    message = f"no table {table!r} on {where}"
    return LookupFailed(grpc.StatusCode.NOT_FOUND, "TABLE_NOT_FOUND", message, table=table)


def rows_not_held(error: RowsNotHeld, epoch: int) -> LookupFailed:
    """Return the failure for rows that another node holds; `epoch` is that of this node's shard map, 0 for none."""
    values = {"table": error.table, "version": error.version, "row": error.row, "epoch": epoch}
    message = f"{error}; the shard map of this node has epoch {epoch}"
    return LookupFailed(grpc.StatusCode.FAILED_PRECONDITION, "ROWS_NOT_HELD", message, **values)


def no_digests(table: str, version: str) -> LookupFailed:
    """Return the failure for blocks of an attached version that nobody could compare with anything."""
    message = (
        f"version {version} of table {table!r} was attached and has no digests yet, so nobody could tell its blocks "
        "from damaged ones; run `engram-store verify` on this node first"
    )
    return LookupFailed(grpc.StatusCode.UNAVAILABLE, "VERSION_UNAVAILABLE", message, table=table, version=version)


def of_storage(error: StorageError, epoch: int = 0) -> LookupFailed:
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
            return LookupFailed(grpc.StatusCode.NOT_FOUND, "VERSION_NOT_FOUND", str(error), **values)
        case InvalidTableName():
            return LookupFailed(
                grpc.StatusCode.INVALID_ARGUMENT, "INVALID_TABLE_NAME", str(error), table=error.name[:300]
            )
        case TableDamaged():
            message = (
                f"version {error.version} of table {error.table!r} is damaged and not served; the node's log says why"
            )
            return LookupFailed(
                grpc.StatusCode.DATA_LOSS, "TABLE_DAMAGED", message, table=error.table, version=error.version
            )
        case VersionUnavailable():
            message = f"version {error.version} of table {error.table!r} cannot be served now; the node's log says why"
            return LookupFailed(
                grpc.StatusCode.UNAVAILABLE,
                "VERSION_UNAVAILABLE",
                message,
                table=error.table,
                version=error.version,
            )
        case _:  # nothing that storage raises may look like a mistake of the node's
            log.error("lookup failed", error=str(error), kind=type(error).__name__)
            message = "this cannot be served now; the node's log says why"
            return LookupFailed(grpc.StatusCode.UNAVAILABLE, "VERSION_UNAVAILABLE", message)


async def abort(context: grpc.aio.ServicerContext[bytes, bytes], failed: LookupFailed) -> NoReturn:
    """End a call with `failed`: the status, and the reason as google.rpc.ErrorInfo in its details."""
    failure = failed.failure
    status = Status(code=failure.code, message=failure.message)
    status.details.add().Pack(ErrorInfo(reason=failure.reason, domain=DOMAIN, metadata=dict(failure.metadata)))
    context.set_trailing_metadata(((_DETAILS_KEY, status.SerializeToString()),))
    await context.abort(failed.code, failure.message)
    raise AssertionError("abort always raises")
