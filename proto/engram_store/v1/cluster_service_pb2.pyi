from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetShardMapRequest(_message.Message):
    __slots__ = ("known_epoch",)
    KNOWN_EPOCH_FIELD_NUMBER: _ClassVar[int]
    known_epoch: int
    def __init__(self, known_epoch: _Optional[int] = ...) -> None: ...

class GetShardMapResponse(_message.Message):
    __slots__ = ("epoch", "map", "draining")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    MAP_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    map: ShardMap
    draining: bool
    def __init__(self, epoch: _Optional[int] = ..., map: _Optional[_Union[ShardMap, _Mapping]] = ..., draining: bool = ...) -> None: ...

class ShardMap(_message.Message):
    __slots__ = ("cluster", "epoch", "replicas", "nodes", "versions", "sets")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    SETS_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    epoch: int
    replicas: int
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    versions: _containers.RepeatedCompositeFieldContainer[ShardedVersion]
    sets: _containers.RepeatedCompositeFieldContainer[TableSet]
    def __init__(self, cluster: _Optional[str] = ..., epoch: _Optional[int] = ..., replicas: _Optional[int] = ..., nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., versions: _Optional[_Iterable[_Union[ShardedVersion, _Mapping]]] = ..., sets: _Optional[_Iterable[_Union[TableSet, _Mapping]]] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("id", "address", "labels", "capacity_bytes", "draining")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_BYTES_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    id: str
    address: str
    labels: _containers.ScalarMap[str, str]
    capacity_bytes: int
    draining: bool
    def __init__(self, id: _Optional[str] = ..., address: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., capacity_bytes: _Optional[int] = ..., draining: bool = ...) -> None: ...

class ShardedVersion(_message.Message):
    __slots__ = ("table", "version", "num_rows", "row_bytes", "row_format", "fingerprint", "block_rows", "source", "shards")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NUM_ROWS_FIELD_NUMBER: _ClassVar[int]
    ROW_BYTES_FIELD_NUMBER: _ClassVar[int]
    ROW_FORMAT_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    BLOCK_ROWS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    table: str
    version: str
    num_rows: int
    row_bytes: int
    row_format: str
    fingerprint: str
    block_rows: int
    source: str
    shards: _containers.RepeatedCompositeFieldContainer[Shard]
    def __init__(self, table: _Optional[str] = ..., version: _Optional[str] = ..., num_rows: _Optional[int] = ..., row_bytes: _Optional[int] = ..., row_format: _Optional[str] = ..., fingerprint: _Optional[str] = ..., block_rows: _Optional[int] = ..., source: _Optional[str] = ..., shards: _Optional[_Iterable[_Union[Shard, _Mapping]]] = ...) -> None: ...

class Shard(_message.Message):
    __slots__ = ("end_row", "holders", "joining")
    END_ROW_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    JOINING_FIELD_NUMBER: _ClassVar[int]
    end_row: int
    holders: _containers.RepeatedScalarFieldContainer[int]
    joining: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, end_row: _Optional[int] = ..., holders: _Optional[_Iterable[int]] = ..., joining: _Optional[_Iterable[int]] = ...) -> None: ...

class TableSet(_message.Message):
    __slots__ = ("name", "current", "previous", "pending", "pending_complete", "publisher")
    class CurrentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class PreviousEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class PendingEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    PENDING_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    PUBLISHER_FIELD_NUMBER: _ClassVar[int]
    name: str
    current: _containers.ScalarMap[str, str]
    previous: _containers.ScalarMap[str, str]
    pending: _containers.ScalarMap[str, str]
    pending_complete: bool
    publisher: str
    def __init__(self, name: _Optional[str] = ..., current: _Optional[_Mapping[str, str]] = ..., previous: _Optional[_Mapping[str, str]] = ..., pending: _Optional[_Mapping[str, str]] = ..., pending_complete: bool = ..., publisher: _Optional[str] = ...) -> None: ...
