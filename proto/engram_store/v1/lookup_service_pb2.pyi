from engram_store.v1 import error_reason_pb2 as _error_reason_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LookupRequest(_message.Message):
    __slots__ = ("table", "version", "rows")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    table: str
    version: str
    rows: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, table: _Optional[str] = ..., version: _Optional[str] = ..., rows: _Optional[_Iterable[int]] = ...) -> None: ...

class LookupResponse(_message.Message):
    __slots__ = ("version", "rows")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    version: str
    rows: bytes
    def __init__(self, version: _Optional[str] = ..., rows: _Optional[bytes] = ...) -> None: ...

class LookupStreamRequest(_message.Message):
    __slots__ = ("id", "table", "version", "rows", "more", "given_up", "traceparent")
    ID_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    GIVEN_UP_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    id: int
    table: str
    version: str
    rows: _containers.RepeatedScalarFieldContainer[int]
    more: _containers.RepeatedCompositeFieldContainer[LookupStreamRequest]
    given_up: _containers.RepeatedScalarFieldContainer[int]
    traceparent: str
    def __init__(self, id: _Optional[int] = ..., table: _Optional[str] = ..., version: _Optional[str] = ..., rows: _Optional[_Iterable[int]] = ..., more: _Optional[_Iterable[_Union[LookupStreamRequest, _Mapping]]] = ..., given_up: _Optional[_Iterable[int]] = ..., traceparent: _Optional[str] = ...) -> None: ...

class LookupStreamResponse(_message.Message):
    __slots__ = ("id", "version", "rows", "failure", "more", "draining")
    ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    id: int
    version: str
    rows: bytes
    failure: Failure
    more: _containers.RepeatedCompositeFieldContainer[LookupStreamResponse]
    draining: bool
    def __init__(self, id: _Optional[int] = ..., version: _Optional[str] = ..., rows: _Optional[bytes] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., more: _Optional[_Iterable[_Union[LookupStreamResponse, _Mapping]]] = ..., draining: bool = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("code", "message", "reason", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    reason: _error_reason_pb2.ErrorReason
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., reason: _Optional[_Union[_error_reason_pb2.ErrorReason, str]] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...
