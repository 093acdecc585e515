from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UnitStatusRequest(_message.Message):
    __slots__ = ("digests",)
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    digests: bool
    def __init__(self, digests: bool = ...) -> None: ...

class UnitStatus(_message.Message):
    __slots__ = ("id", "incarnation", "address", "state", "primaries", "backups", "entries", "memory_bytes", "lag_records", "lag_s", "journal_bytes", "pid", "ready_partitions", "cpu_s", "counters", "digests")
    class CountersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PRIMARIES_FIELD_NUMBER: _ClassVar[int]
    BACKUPS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    LAG_RECORDS_FIELD_NUMBER: _ClassVar[int]
    LAG_S_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    READY_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    CPU_S_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    id: str
    incarnation: str
    address: str
    state: str
    primaries: int
    backups: int
    entries: int
    memory_bytes: int
    lag_records: int
    lag_s: float
    journal_bytes: int
    pid: int
    ready_partitions: _containers.RepeatedScalarFieldContainer[int]
    cpu_s: float
    counters: _containers.ScalarMap[str, int]
    digests: _containers.RepeatedCompositeFieldContainer[PartitionDigest]
    def __init__(self, id: _Optional[str] = ..., incarnation: _Optional[str] = ..., address: _Optional[str] = ..., state: _Optional[str] = ..., primaries: _Optional[int] = ..., backups: _Optional[int] = ..., entries: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., lag_records: _Optional[int] = ..., lag_s: _Optional[float] = ..., journal_bytes: _Optional[int] = ..., pid: _Optional[int] = ..., ready_partitions: _Optional[_Iterable[int]] = ..., cpu_s: _Optional[float] = ..., counters: _Optional[_Mapping[str, int]] = ..., digests: _Optional[_Iterable[_Union[PartitionDigest, _Mapping]]] = ...) -> None: ...

class PartitionDigest(_message.Message):
    __slots__ = ("partition", "sequence", "digest", "role")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    partition: int
    sequence: int
    digest: int
    role: str
    def __init__(self, partition: _Optional[int] = ..., sequence: _Optional[int] = ..., digest: _Optional[int] = ..., role: _Optional[str] = ...) -> None: ...

class PartitionSummary(_message.Message):
    __slots__ = ("total", "healthy", "under_replicated", "lost", "moving")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    UNDER_REPLICATED_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    MOVING_FIELD_NUMBER: _ClassVar[int]
    total: int
    healthy: int
    under_replicated: int
    lost: int
    moving: int
    def __init__(self, total: _Optional[int] = ..., healthy: _Optional[int] = ..., under_replicated: _Optional[int] = ..., lost: _Optional[int] = ..., moving: _Optional[int] = ...) -> None: ...

class PumpStatus(_message.Message):
    __slots__ = ("lag_records", "lag_s", "dead_letters", "persisted_records", "store", "error")
    LAG_RECORDS_FIELD_NUMBER: _ClassVar[int]
    LAG_S_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    PERSISTED_RECORDS_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    lag_records: int
    lag_s: float
    dead_letters: int
    persisted_records: int
    store: str
    error: str
    def __init__(self, lag_records: _Optional[int] = ..., lag_s: _Optional[float] = ..., dead_letters: _Optional[int] = ..., persisted_records: _Optional[int] = ..., store: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("grid_id", "version", "units", "partitions", "pump", "table_version", "control_address", "warnings")
    GRID_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    PUMP_FIELD_NUMBER: _ClassVar[int]
    TABLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    CONTROL_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    grid_id: str
    version: str
    units: _containers.RepeatedCompositeFieldContainer[UnitStatus]
    partitions: PartitionSummary
    pump: PumpStatus
    table_version: int
    control_address: str
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, grid_id: _Optional[str] = ..., version: _Optional[str] = ..., units: _Optional[_Iterable[_Union[UnitStatus, _Mapping]]] = ..., partitions: _Optional[_Union[PartitionSummary, _Mapping]] = ..., pump: _Optional[_Union[PumpStatus, _Mapping]] = ..., table_version: _Optional[int] = ..., control_address: _Optional[str] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class CreateSpaceRequest(_message.Message):
    __slots__ = ("name", "schema")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    name: str
    schema: bytes
    def __init__(self, name: _Optional[str] = ..., schema: _Optional[bytes] = ...) -> None: ...

class CreateSpaceResponse(_message.Message):
    __slots__ = ("created",)
    CREATED_FIELD_NUMBER: _ClassVar[int]
    created: bool
    def __init__(self, created: bool = ...) -> None: ...

class ScaleRequest(_message.Message):
    __slots__ = ("units",)
    UNITS_FIELD_NUMBER: _ClassVar[int]
    units: int
    def __init__(self, units: _Optional[int] = ...) -> None: ...

class ScaleResponse(_message.Message):
    __slots__ = ("units",)
    UNITS_FIELD_NUMBER: _ClassVar[int]
    units: int
    def __init__(self, units: _Optional[int] = ...) -> None: ...

class ShutdownRequest(_message.Message):
    __slots__ = ("timeout_ms",)
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    timeout_ms: int
    def __init__(self, timeout_ms: _Optional[int] = ...) -> None: ...

class ShutdownResponse(_message.Message):
    __slots__ = ("unpersisted_records",)
    UNPERSISTED_RECORDS_FIELD_NUMBER: _ClassVar[int]
    unpersisted_records: int
    def __init__(self, unpersisted_records: _Optional[int] = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ("timeout_ms",)
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    timeout_ms: int
    def __init__(self, timeout_ms: _Optional[int] = ...) -> None: ...

class DrainResponse(_message.Message):
    __slots__ = ("unpersisted_records",)
    UNPERSISTED_RECORDS_FIELD_NUMBER: _ClassVar[int]
    unpersisted_records: int
    def __init__(self, unpersisted_records: _Optional[int] = ...) -> None: ...
