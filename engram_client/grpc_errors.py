"""What the other side says went wrong, as our errors: the one place where gRPC's statuses end."""

from __future__ import annotations

from typing import Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from engram_client import errors
from engram_client.handshake_words import with_handshake_words
from engram_client.security import Security
from engram_store.codec import Failure

_BY_REASON: Final[dict[str, type[errors.EngramError]]] = {
    "TABLE_NOT_FOUND": errors.TableNotFound,
    "VERSION_NOT_FOUND": errors.VersionNotFound,
    "ROW_OUT_OF_RANGE": errors.RowOutOfRange,
    "REQUEST_TOO_LARGE": errors.RequestTooLarge,
    "MALFORMED_REQUEST": errors.ProtocolError,
    "INVALID_TABLE_NAME": errors.InvalidTableName,
    "TABLE_DAMAGED": errors.TableDamaged,
    "SHUTTING_DOWN": errors.Unavailable,
    "VERSION_UNAVAILABLE": errors.Unavailable,
    "STARTING": errors.Unavailable,
    "ROWS_NOT_HELD": errors.RowsNotHeld,
    "OVERLOADED": errors.Overloaded,
    "GIVEN_UP": errors.Unavailable,  # of one that we wait for still
    "READS_NOTHING": errors.Unavailable,
}
_BY_CODE: Final[dict[grpc.StatusCode, type[errors.EngramError]]] = {
    # A call of ours changes nothing, so whatever broke on the way is worth another try.
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.CANCELLED: errors.Unavailable,
    grpc.StatusCode.ABORTED: errors.Unavailable,
    # What gRPC makes of a stream that ended while we were writing to it.
    grpc.StatusCode.INTERNAL: errors.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.TimeLimitExceeded,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.RequestTooLarge,
    grpc.StatusCode.UNIMPLEMENTED: errors.ProtocolError,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDenied,
}
_CODE_OF_NUMBER: Final = {code.value[0]: code for code in grpc.StatusCode}
_DETAILS_KEY: Final = "grpc-status-details-bin"
_RETRY_MS: Final = 100
_LONGEST_RETRY_MS: Final = 5000


def error_of_failure(failure: Failure) -> errors.EngramError:
    """Return the error that a failed lookup on a stream stands for."""
    if failure.reason == "ROWS_NOT_HELD":
        epoch = failure.metadata.get("epoch", "")
        return errors.RowsNotHeld(failure.message, int(epoch) if epoch.isdecimal() and len(epoch) < 20 else 0)
    if failure.reason == "OVERLOADED":
        return errors.Overloaded(failure.message, _seconds(failure.metadata.get("retry_ms", "")))
    code = _CODE_OF_NUMBER.get(failure.code, grpc.StatusCode.UNKNOWN)
    return _error(failure.reason, code, failure.message)


def error_of_call(error: grpc.aio.AioRpcError, address: str, security: Security | None = None) -> errors.EngramError:
    """Return the error that a failed call to `address` stands for, which was made with this `security`."""
    message = error.details() or f"gRPC status {error.code().name}"
    info = _info(error)
    reason = str(info.reason)
    if reason == "OVERLOADED":
        return errors.Overloaded(f"{address}: {message}", _seconds(info.metadata.get("retry_ms", "")))
    if error.code() == grpc.StatusCode.UNAVAILABLE and security is not None:
        message = with_handshake_words(message, security)
    return _error(reason, error.code(), message if reason else f"{address}: {message}")


def _error(reason: str, code: grpc.StatusCode, message: str) -> errors.EngramError:
    kind = _BY_REASON.get(reason) or _BY_CODE.get(code) or errors.EngramError
    return kind(message)


def _info(error: grpc.aio.AioRpcError) -> ErrorInfo:
    """Return what a node says of a failure, empty if nothing."""
    info = ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                if any(detail.Unpack(info) for detail in Status.FromString(value).details):
                    return info
            except DecodeError:  # not ours: something on the way put it there
                break
    return ErrorInfo()


def _seconds(milliseconds: str) -> float:
    """Return the seconds after which to try again, within reason whatever a node says."""
    known = int(milliseconds[:6]) if milliseconds.isdecimal() else _RETRY_MS
    return min(max(known, 1), _LONGEST_RETRY_MS) / 1000
