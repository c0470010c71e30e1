from engram_store.v1 import table_service_pb2 as _table_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("node_id", "program_version", "started_at_ns", "now_ns", "uptime_seconds", "ready", "draining", "tables", "workers", "limits", "lookup_seconds", "refused", "failed", "given_up", "streams", "connections", "cluster_id", "map_epoch", "pid", "listen", "quiet")
    class LimitsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: LimitStatus
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[LimitStatus, _Mapping]] = ...) -> None: ...
    class LookupSecondsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: LookupTimes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[LookupTimes, _Mapping]] = ...) -> None: ...
    class RefusedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class FailedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_VERSION_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_NS_FIELD_NUMBER: _ClassVar[int]
    NOW_NS_FIELD_NUMBER: _ClassVar[int]
    UPTIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    LOOKUP_SECONDS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    GIVEN_UP_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    MAP_EPOCH_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    LISTEN_FIELD_NUMBER: _ClassVar[int]
    QUIET_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    program_version: str
    started_at_ns: int
    now_ns: int
    uptime_seconds: float
    ready: bool
    draining: bool
    tables: _containers.RepeatedCompositeFieldContainer[TableStatus]
    workers: _table_service_pb2.Workers
    limits: _containers.MessageMap[str, LimitStatus]
    lookup_seconds: _containers.MessageMap[str, LookupTimes]
    refused: _containers.ScalarMap[str, int]
    failed: _containers.ScalarMap[str, int]
    given_up: int
    streams: int
    connections: int
    cluster_id: str
    map_epoch: int
    pid: int
    listen: str
    quiet: bool
    def __init__(self, node_id: _Optional[str] = ..., program_version: _Optional[str] = ..., started_at_ns: _Optional[int] = ..., now_ns: _Optional[int] = ..., uptime_seconds: _Optional[float] = ..., ready: bool = ..., draining: bool = ..., tables: _Optional[_Iterable[_Union[TableStatus, _Mapping]]] = ..., workers: _Optional[_Union[_table_service_pb2.Workers, _Mapping]] = ..., limits: _Optional[_Mapping[str, LimitStatus]] = ..., lookup_seconds: _Optional[_Mapping[str, LookupTimes]] = ..., refused: _Optional[_Mapping[str, int]] = ..., failed: _Optional[_Mapping[str, int]] = ..., given_up: _Optional[int] = ..., streams: _Optional[int] = ..., connections: _Optional[int] = ..., cluster_id: _Optional[str] = ..., map_epoch: _Optional[int] = ..., pid: _Optional[int] = ..., listen: _Optional[str] = ..., quiet: bool = ...) -> None: ...

class TableStatus(_message.Message):
    __slots__ = ("name", "version", "num_rows", "num_bytes", "resident_bytes", "backend", "written_at_ns", "quarantined", "lookups", "found_rows", "found_bytes", "served")
    class LookupsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NUM_ROWS_FIELD_NUMBER: _ClassVar[int]
    NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_AT_NS_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    LOOKUPS_FIELD_NUMBER: _ClassVar[int]
    FOUND_ROWS_FIELD_NUMBER: _ClassVar[int]
    FOUND_BYTES_FIELD_NUMBER: _ClassVar[int]
    SERVED_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    num_rows: int
    num_bytes: int
    resident_bytes: int
    backend: str
    written_at_ns: int
    quarantined: _containers.RepeatedScalarFieldContainer[str]
    lookups: _containers.ScalarMap[str, int]
    found_rows: int
    found_bytes: int
    served: bool
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., num_rows: _Optional[int] = ..., num_bytes: _Optional[int] = ..., resident_bytes: _Optional[int] = ..., backend: _Optional[str] = ..., written_at_ns: _Optional[int] = ..., quarantined: _Optional[_Iterable[str]] = ..., lookups: _Optional[_Mapping[str, int]] = ..., found_rows: _Optional[int] = ..., found_bytes: _Optional[int] = ..., served: bool = ...) -> None: ...

class LimitStatus(_message.Message):
    __slots__ = ("taken", "most")
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    taken: int
    most: int
    def __init__(self, taken: _Optional[int] = ..., most: _Optional[int] = ...) -> None: ...

class LookupTimes(_message.Message):
    __slots__ = ("bounds_seconds", "cumulative", "sum_seconds")
    BOUNDS_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CUMULATIVE_FIELD_NUMBER: _ClassVar[int]
    SUM_SECONDS_FIELD_NUMBER: _ClassVar[int]
    bounds_seconds: _containers.RepeatedScalarFieldContainer[float]
    cumulative: _containers.RepeatedScalarFieldContainer[int]
    sum_seconds: float
    def __init__(self, bounds_seconds: _Optional[_Iterable[float]] = ..., cumulative: _Optional[_Iterable[int]] = ..., sum_seconds: _Optional[float] = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DrainResponse(_message.Message):
    __slots__ = ("was_draining",)
    WAS_DRAINING_FIELD_NUMBER: _ClassVar[int]
    was_draining: bool
    def __init__(self, was_draining: bool = ...) -> None: ...

class AttachTableRequest(_message.Message):
    __slots__ = ("name", "checkpoint")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    name: str
    checkpoint: str
    def __init__(self, name: _Optional[str] = ..., checkpoint: _Optional[str] = ...) -> None: ...

class AttachTableResponse(_message.Message):
    __slots__ = ("tables", "unknown_hashing")
    TABLES_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_HASHING_FIELD_NUMBER: _ClassVar[int]
    tables: _containers.RepeatedCompositeFieldContainer[AttachedTable]
    unknown_hashing: str
    def __init__(self, tables: _Optional[_Iterable[_Union[AttachedTable, _Mapping]]] = ..., unknown_hashing: _Optional[str] = ...) -> None: ...

class AttachedTable(_message.Message):
    __slots__ = ("name", "version", "num_rows", "num_bytes", "fingerprint", "unchanged", "served")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NUM_ROWS_FIELD_NUMBER: _ClassVar[int]
    NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    SERVED_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    num_rows: int
    num_bytes: int
    fingerprint: str
    unchanged: bool
    served: bool
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., num_rows: _Optional[int] = ..., num_bytes: _Optional[int] = ..., fingerprint: _Optional[str] = ..., unchanged: bool = ..., served: bool = ...) -> None: ...

class DropVersionRequest(_message.Message):
    __slots__ = ("table", "version", "whole_table")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WHOLE_TABLE_FIELD_NUMBER: _ClassVar[int]
    table: str
    version: str
    whole_table: bool
    def __init__(self, table: _Optional[str] = ..., version: _Optional[str] = ..., whole_table: bool = ...) -> None: ...

class DropVersionResponse(_message.Message):
    __slots__ = ("gone",)
    GONE_FIELD_NUMBER: _ClassVar[int]
    gone: bool
    def __init__(self, gone: bool = ...) -> None: ...
