from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_REASON_UNSPECIFIED: _ClassVar[ErrorReason]
    ERROR_REASON_TABLE_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_VERSION_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_ROW_OUT_OF_RANGE: _ClassVar[ErrorReason]
    ERROR_REASON_REQUEST_TOO_LARGE: _ClassVar[ErrorReason]
    ERROR_REASON_MALFORMED_REQUEST: _ClassVar[ErrorReason]
    ERROR_REASON_INVALID_TABLE_NAME: _ClassVar[ErrorReason]
    ERROR_REASON_TABLE_DAMAGED: _ClassVar[ErrorReason]
    ERROR_REASON_SHUTTING_DOWN: _ClassVar[ErrorReason]
    ERROR_REASON_VERSION_UNAVAILABLE: _ClassVar[ErrorReason]
    ERROR_REASON_STARTING: _ClassVar[ErrorReason]
    ERROR_REASON_ROWS_NOT_HELD: _ClassVar[ErrorReason]
    ERROR_REASON_UNAUTHENTICATED: _ClassVar[ErrorReason]
    ERROR_REASON_PERMISSION_DENIED: _ClassVar[ErrorReason]
    ERROR_REASON_OVERLOADED: _ClassVar[ErrorReason]
    ERROR_REASON_GIVEN_UP: _ClassVar[ErrorReason]
    ERROR_REASON_READS_NOTHING: _ClassVar[ErrorReason]
    ERROR_REASON_CHANGE_FAILED: _ClassVar[ErrorReason]
    ERROR_REASON_CHANGES_ELSEWHERE: _ClassVar[ErrorReason]
ERROR_REASON_UNSPECIFIED: ErrorReason
ERROR_REASON_TABLE_NOT_FOUND: ErrorReason
ERROR_REASON_VERSION_NOT_FOUND: ErrorReason
ERROR_REASON_ROW_OUT_OF_RANGE: ErrorReason
ERROR_REASON_REQUEST_TOO_LARGE: ErrorReason
ERROR_REASON_MALFORMED_REQUEST: ErrorReason
ERROR_REASON_INVALID_TABLE_NAME: ErrorReason
ERROR_REASON_TABLE_DAMAGED: ErrorReason
ERROR_REASON_SHUTTING_DOWN: ErrorReason
ERROR_REASON_VERSION_UNAVAILABLE: ErrorReason
ERROR_REASON_STARTING: ErrorReason
ERROR_REASON_ROWS_NOT_HELD: ErrorReason
ERROR_REASON_UNAUTHENTICATED: ErrorReason
ERROR_REASON_PERMISSION_DENIED: ErrorReason
ERROR_REASON_OVERLOADED: ErrorReason
ERROR_REASON_GIVEN_UP: ErrorReason
ERROR_REASON_READS_NOTHING: ErrorReason
ERROR_REASON_CHANGE_FAILED: ErrorReason
ERROR_REASON_CHANGES_ELSEWHERE: ErrorReason
