from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PersistStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PERSIST_STATUS_UNSPECIFIED: _ClassVar[PersistStatus]
    PERSIST_STATUS_CLAIMED: _ClassVar[PersistStatus]
    PERSIST_STATUS_PERSISTED: _ClassVar[PersistStatus]
    PERSIST_STATUS_FENCED: _ClassVar[PersistStatus]
    PERSIST_STATUS_RETRY: _ClassVar[PersistStatus]
    PERSIST_STATUS_STOPPED: _ClassVar[PersistStatus]
PERSIST_STATUS_UNSPECIFIED: PersistStatus
PERSIST_STATUS_CLAIMED: PersistStatus
PERSIST_STATUS_PERSISTED: PersistStatus
PERSIST_STATUS_FENCED: PersistStatus
PERSIST_STATUS_RETRY: PersistStatus
PERSIST_STATUS_STOPPED: PersistStatus

class LoadRequest(_message.Message):
    __slots__ = ("grid_id", "partitions", "epochs", "space")
    GRID_ID_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    grid_id: bytes
    partitions: _containers.RepeatedScalarFieldContainer[int]
    epochs: _containers.RepeatedScalarFieldContainer[int]
    space: str
    def __init__(self, grid_id: _Optional[bytes] = ..., partitions: _Optional[_Iterable[int]] = ..., epochs: _Optional[_Iterable[int]] = ..., space: _Optional[str] = ...) -> None: ...

class LoadChunk(_message.Message):
    __slots__ = ("fence_partitions", "fence_epochs", "fence_cursors", "space", "partitions", "keys", "values", "versions", "deadlines_ms", "dead_keys")
    FENCE_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    FENCE_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    FENCE_CURSORS_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    DEADLINES_MS_FIELD_NUMBER: _ClassVar[int]
    DEAD_KEYS_FIELD_NUMBER: _ClassVar[int]
    fence_partitions: _containers.RepeatedScalarFieldContainer[int]
    fence_epochs: _containers.RepeatedScalarFieldContainer[int]
    fence_cursors: _containers.RepeatedScalarFieldContainer[int]
    space: str
    partitions: _containers.RepeatedScalarFieldContainer[int]
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    values: _containers.RepeatedScalarFieldContainer[bytes]
    versions: _containers.RepeatedScalarFieldContainer[int]
    deadlines_ms: _containers.RepeatedScalarFieldContainer[int]
    dead_keys: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, fence_partitions: _Optional[_Iterable[int]] = ..., fence_epochs: _Optional[_Iterable[int]] = ..., fence_cursors: _Optional[_Iterable[int]] = ..., space: _Optional[str] = ..., partitions: _Optional[_Iterable[int]] = ..., keys: _Optional[_Iterable[bytes]] = ..., values: _Optional[_Iterable[bytes]] = ..., versions: _Optional[_Iterable[int]] = ..., deadlines_ms: _Optional[_Iterable[int]] = ..., dead_keys: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ReadRowsRequest(_message.Message):
    __slots__ = ("grid_id", "space", "partitions", "keys")
    GRID_ID_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    grid_id: bytes
    space: str
    partitions: _containers.RepeatedScalarFieldContainer[int]
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, grid_id: _Optional[bytes] = ..., space: _Optional[str] = ..., partitions: _Optional[_Iterable[int]] = ..., keys: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ReadRowsResponse(_message.Message):
    __slots__ = ("fence_partitions", "fence_epochs", "fence_cursors", "found", "values", "versions", "deadlines_ms", "dead")
    FENCE_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    FENCE_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    FENCE_CURSORS_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    DEADLINES_MS_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    fence_partitions: _containers.RepeatedScalarFieldContainer[int]
    fence_epochs: _containers.RepeatedScalarFieldContainer[int]
    fence_cursors: _containers.RepeatedScalarFieldContainer[int]
    found: _containers.RepeatedScalarFieldContainer[int]
    values: _containers.RepeatedScalarFieldContainer[bytes]
    versions: _containers.RepeatedScalarFieldContainer[int]
    deadlines_ms: _containers.RepeatedScalarFieldContainer[int]
    dead: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, fence_partitions: _Optional[_Iterable[int]] = ..., fence_epochs: _Optional[_Iterable[int]] = ..., fence_cursors: _Optional[_Iterable[int]] = ..., found: _Optional[_Iterable[int]] = ..., values: _Optional[_Iterable[bytes]] = ..., versions: _Optional[_Iterable[int]] = ..., deadlines_ms: _Optional[_Iterable[int]] = ..., dead: _Optional[_Iterable[int]] = ...) -> None: ...

class PumpFrame(_message.Message):
    __slots__ = ("grid_id", "sender", "position", "claim_partitions", "claim_epochs", "changes")
    GRID_ID_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    CLAIM_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    CLAIM_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    grid_id: bytes
    sender: str
    position: int
    claim_partitions: _containers.RepeatedScalarFieldContainer[int]
    claim_epochs: _containers.RepeatedScalarFieldContainer[int]
    changes: PumpColumns
    def __init__(self, grid_id: _Optional[bytes] = ..., sender: _Optional[str] = ..., position: _Optional[int] = ..., claim_partitions: _Optional[_Iterable[int]] = ..., claim_epochs: _Optional[_Iterable[int]] = ..., changes: _Optional[_Union[PumpColumns, _Mapping]] = ...) -> None: ...

class PumpColumns(_message.Message):
    __slots__ = ("spaces", "partitions", "epochs", "from_sequences", "to_sequences", "counts", "space_index", "keys", "values", "deleted", "versions", "deadlines_ms")
    SPACES_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    FROM_SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    TO_SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    SPACE_INDEX_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    DEADLINES_MS_FIELD_NUMBER: _ClassVar[int]
    spaces: _containers.RepeatedScalarFieldContainer[str]
    partitions: _containers.RepeatedScalarFieldContainer[int]
    epochs: _containers.RepeatedScalarFieldContainer[int]
    from_sequences: _containers.RepeatedScalarFieldContainer[int]
    to_sequences: _containers.RepeatedScalarFieldContainer[int]
    counts: _containers.RepeatedScalarFieldContainer[int]
    space_index: _containers.RepeatedScalarFieldContainer[int]
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    values: _containers.RepeatedScalarFieldContainer[bytes]
    deleted: bytes
    versions: _containers.RepeatedScalarFieldContainer[int]
    deadlines_ms: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, spaces: _Optional[_Iterable[str]] = ..., partitions: _Optional[_Iterable[int]] = ..., epochs: _Optional[_Iterable[int]] = ..., from_sequences: _Optional[_Iterable[int]] = ..., to_sequences: _Optional[_Iterable[int]] = ..., counts: _Optional[_Iterable[int]] = ..., space_index: _Optional[_Iterable[int]] = ..., keys: _Optional[_Iterable[bytes]] = ..., values: _Optional[_Iterable[bytes]] = ..., deleted: _Optional[bytes] = ..., versions: _Optional[_Iterable[int]] = ..., deadlines_ms: _Optional[_Iterable[int]] = ...) -> None: ...

class PumpAck(_message.Message):
    __slots__ = ("position", "partitions", "epochs", "cursors", "statuses", "dead_letters", "error", "dead")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    CURSORS_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    position: int
    partitions: _containers.RepeatedScalarFieldContainer[int]
    epochs: _containers.RepeatedScalarFieldContainer[int]
    cursors: _containers.RepeatedScalarFieldContainer[int]
    statuses: bytes
    dead_letters: int
    error: str
    dead: _containers.RepeatedCompositeFieldContainer[DeadChange]
    def __init__(self, position: _Optional[int] = ..., partitions: _Optional[_Iterable[int]] = ..., epochs: _Optional[_Iterable[int]] = ..., cursors: _Optional[_Iterable[int]] = ..., statuses: _Optional[bytes] = ..., dead_letters: _Optional[int] = ..., error: _Optional[str] = ..., dead: _Optional[_Iterable[_Union[DeadChange, _Mapping]]] = ...) -> None: ...

class DeadChange(_message.Message):
    __slots__ = ("partition", "space", "key", "version", "error")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    partition: int
    space: str
    key: bytes
    version: int
    error: str
    def __init__(self, partition: _Optional[int] = ..., space: _Optional[str] = ..., key: _Optional[bytes] = ..., version: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...
