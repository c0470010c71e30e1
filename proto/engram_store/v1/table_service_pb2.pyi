from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListTablesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListTablesResponse(_message.Message):
    __slots__ = ("tables", "workers", "map_epoch", "draining")
    TABLES_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    MAP_EPOCH_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    tables: _containers.RepeatedCompositeFieldContainer[Table]
    workers: Workers
    map_epoch: int
    draining: bool
    def __init__(self, tables: _Optional[_Iterable[_Union[Table, _Mapping]]] = ..., workers: _Optional[_Union[Workers, _Mapping]] = ..., map_epoch: _Optional[int] = ..., draining: bool = ...) -> None: ...

class GetTableRequest(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class GetTableResponse(_message.Message):
    __slots__ = ("table", "workers", "map_epoch", "draining")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    MAP_EPOCH_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    table: Table
    workers: Workers
    map_epoch: int
    draining: bool
    def __init__(self, table: _Optional[_Union[Table, _Mapping]] = ..., workers: _Optional[_Union[Workers, _Mapping]] = ..., map_epoch: _Optional[int] = ..., draining: bool = ...) -> None: ...

class Workers(_message.Message):
    __slots__ = ("node", "listen")
    NODE_FIELD_NUMBER: _ClassVar[int]
    LISTEN_FIELD_NUMBER: _ClassVar[int]
    node: str
    listen: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, node: _Optional[str] = ..., listen: _Optional[_Iterable[str]] = ...) -> None: ...

class Table(_message.Message):
    __slots__ = ("name", "version", "num_rows", "row_bytes", "row_format", "fingerprint", "backend", "max_rows_per_lookup")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NUM_ROWS_FIELD_NUMBER: _ClassVar[int]
    ROW_BYTES_FIELD_NUMBER: _ClassVar[int]
    ROW_FORMAT_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    MAX_ROWS_PER_LOOKUP_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    num_rows: int
    row_bytes: int
    row_format: str
    fingerprint: str
    backend: str
    max_rows_per_lookup: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., num_rows: _Optional[int] = ..., row_bytes: _Optional[int] = ..., row_format: _Optional[str] = ..., fingerprint: _Optional[str] = ..., backend: _Optional[str] = ..., max_rows_per_lookup: _Optional[int] = ...) -> None: ...
