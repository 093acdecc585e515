from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StatusRequest(_message.Message):
    __slots__ = ("lags",)
    LAGS_FIELD_NUMBER: _ClassVar[int]
    lags: bool
    def __init__(self, lags: bool = ...) -> None: ...

class UnitStatusRequest(_message.Message):
    __slots__ = ("digests", "lags")
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    LAGS_FIELD_NUMBER: _ClassVar[int]
    digests: bool
    lags: bool
    def __init__(self, digests: bool = ..., lags: bool = ...) -> None: ...

class UnitStatus(_message.Message):
    __slots__ = ("id", "incarnation", "address", "state", "primaries", "backups", "entries", "memory_bytes", "lag_records", "lag_s", "journal_bytes", "pid", "ready_partitions", "cpu_s", "counters", "digests", "lag_bytes", "store_error", "lags", "stopped_partitions", "load")
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
    LAG_BYTES_FIELD_NUMBER: _ClassVar[int]
    STORE_ERROR_FIELD_NUMBER: _ClassVar[int]
    LAGS_FIELD_NUMBER: _ClassVar[int]
    STOPPED_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
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
    lag_bytes: int
    store_error: str
    lags: _containers.RepeatedCompositeFieldContainer[PartitionLag]
    stopped_partitions: _containers.RepeatedScalarFieldContainer[int]
    load: LoadProgress
    def __init__(self, id: _Optional[str] = ..., incarnation: _Optional[str] = ..., address: _Optional[str] = ..., state: _Optional[str] = ..., primaries: _Optional[int] = ..., backups: _Optional[int] = ..., entries: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., lag_records: _Optional[int] = ..., lag_s: _Optional[float] = ..., journal_bytes: _Optional[int] = ..., pid: _Optional[int] = ..., ready_partitions: _Optional[_Iterable[int]] = ..., cpu_s: _Optional[float] = ..., counters: _Optional[_Mapping[str, int]] = ..., digests: _Optional[_Iterable[_Union[PartitionDigest, _Mapping]]] = ..., lag_bytes: _Optional[int] = ..., store_error: _Optional[str] = ..., lags: _Optional[_Iterable[_Union[PartitionLag, _Mapping]]] = ..., stopped_partitions: _Optional[_Iterable[int]] = ..., load: _Optional[_Union[LoadProgress, _Mapping]] = ...) -> None: ...

class LoadProgress(_message.Message):
    __slots__ = ("partitions_left", "partitions_done", "entries", "error")
    PARTITIONS_LEFT_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_DONE_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    partitions_left: int
    partitions_done: int
    entries: int
    error: str
    def __init__(self, partitions_left: _Optional[int] = ..., partitions_done: _Optional[int] = ..., entries: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class PartitionLag(_message.Message):
    __slots__ = ("partition", "epoch", "committed", "cursor", "bytes", "seconds", "known", "problem")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    partition: int
    epoch: int
    committed: int
    cursor: int
    bytes: int
    seconds: float
    known: bool
    problem: str
    def __init__(self, partition: _Optional[int] = ..., epoch: _Optional[int] = ..., committed: _Optional[int] = ..., cursor: _Optional[int] = ..., bytes: _Optional[int] = ..., seconds: _Optional[float] = ..., known: bool = ..., problem: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("lag_records", "lag_s", "dead_letters", "persisted_records", "store", "error", "lag_bytes", "lag_records_max", "lag_bytes_max", "lag_partition", "lags", "stopped_partitions")
    LAG_RECORDS_FIELD_NUMBER: _ClassVar[int]
    LAG_S_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    PERSISTED_RECORDS_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    LAG_BYTES_FIELD_NUMBER: _ClassVar[int]
    LAG_RECORDS_MAX_FIELD_NUMBER: _ClassVar[int]
    LAG_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    LAG_PARTITION_FIELD_NUMBER: _ClassVar[int]
    LAGS_FIELD_NUMBER: _ClassVar[int]
    STOPPED_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    lag_records: int
    lag_s: float
    dead_letters: int
    persisted_records: int
    store: str
    error: str
    lag_bytes: int
    lag_records_max: int
    lag_bytes_max: int
    lag_partition: int
    lags: _containers.RepeatedCompositeFieldContainer[PartitionLag]
    stopped_partitions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, lag_records: _Optional[int] = ..., lag_s: _Optional[float] = ..., dead_letters: _Optional[int] = ..., persisted_records: _Optional[int] = ..., store: _Optional[str] = ..., error: _Optional[str] = ..., lag_bytes: _Optional[int] = ..., lag_records_max: _Optional[int] = ..., lag_bytes_max: _Optional[int] = ..., lag_partition: _Optional[int] = ..., lags: _Optional[_Iterable[_Union[PartitionLag, _Mapping]]] = ..., stopped_partitions: _Optional[_Iterable[int]] = ...) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("grid_id", "version", "units", "partitions", "pump", "table_version", "control_address", "warnings", "lost_partitions", "routers")
    GRID_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    PUMP_FIELD_NUMBER: _ClassVar[int]
    TABLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    CONTROL_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    LOST_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    ROUTERS_FIELD_NUMBER: _ClassVar[int]
    grid_id: str
    version: str
    units: _containers.RepeatedCompositeFieldContainer[UnitStatus]
    partitions: PartitionSummary
    pump: PumpStatus
    table_version: int
    control_address: str
    warnings: _containers.RepeatedScalarFieldContainer[str]
    lost_partitions: _containers.RepeatedScalarFieldContainer[int]
    routers: _containers.RepeatedCompositeFieldContainer[RouterStatus]
    def __init__(self, grid_id: _Optional[str] = ..., version: _Optional[str] = ..., units: _Optional[_Iterable[_Union[UnitStatus, _Mapping]]] = ..., partitions: _Optional[_Union[PartitionSummary, _Mapping]] = ..., pump: _Optional[_Union[PumpStatus, _Mapping]] = ..., table_version: _Optional[int] = ..., control_address: _Optional[str] = ..., warnings: _Optional[_Iterable[str]] = ..., lost_partitions: _Optional[_Iterable[int]] = ..., routers: _Optional[_Iterable[_Union[RouterStatus, _Mapping]]] = ...) -> None: ...

class RouterStatus(_message.Message):
    __slots__ = ("id", "address", "state")
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    id: str
    address: str
    state: str
    def __init__(self, id: _Optional[str] = ..., address: _Optional[str] = ..., state: _Optional[str] = ...) -> None: ...

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

class RestartRequest(_message.Message):
    __slots__ = ("force",)
    FORCE_FIELD_NUMBER: _ClassVar[int]
    force: bool
    def __init__(self, force: bool = ...) -> None: ...

class RestartProgress(_message.Message):
    __slots__ = ("unit", "step", "number", "total")
    class Step(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STEP_UNSPECIFIED: _ClassVar[RestartProgress.Step]
        STEP_STOPPING: _ClassVar[RestartProgress.Step]
        STEP_STARTING: _ClassVar[RestartProgress.Step]
        STEP_HEALING: _ClassVar[RestartProgress.Step]
        STEP_DONE: _ClassVar[RestartProgress.Step]
    STEP_UNSPECIFIED: RestartProgress.Step
    STEP_STOPPING: RestartProgress.Step
    STEP_STARTING: RestartProgress.Step
    STEP_HEALING: RestartProgress.Step
    STEP_DONE: RestartProgress.Step
    UNIT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    unit: str
    step: RestartProgress.Step
    number: int
    total: int
    def __init__(self, unit: _Optional[str] = ..., step: _Optional[_Union[RestartProgress.Step, str]] = ..., number: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...

class HoldingsRequest(_message.Message):
    __slots__ = ("partitions", "grid")
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    GRID_FIELD_NUMBER: _ClassVar[int]
    partitions: _containers.RepeatedScalarFieldContainer[int]
    grid: bool
    def __init__(self, partitions: _Optional[_Iterable[int]] = ..., grid: bool = ...) -> None: ...

class HoldingsResponse(_message.Message):
    __slots__ = ("incarnation", "grid", "holdings", "entries")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    GRID_FIELD_NUMBER: _ClassVar[int]
    HOLDINGS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    incarnation: str
    grid: bytes
    holdings: _containers.RepeatedCompositeFieldContainer[Holding]
    entries: _containers.RepeatedCompositeFieldContainer[KnownEntry]
    def __init__(self, incarnation: _Optional[str] = ..., grid: _Optional[bytes] = ..., holdings: _Optional[_Iterable[_Union[Holding, _Mapping]]] = ..., entries: _Optional[_Iterable[_Union[KnownEntry, _Mapping]]] = ...) -> None: ...

class KnownEntry(_message.Message):
    __slots__ = ("key", "value", "revision")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: bytes
    revision: int
    def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ..., revision: _Optional[int] = ...) -> None: ...

class Holding(_message.Message):
    __slots__ = ("partition", "epoch", "last_sequence", "commit", "last_epoch", "config", "revision", "swap")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    LAST_EPOCH_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SWAP_FIELD_NUMBER: _ClassVar[int]
    partition: int
    epoch: int
    last_sequence: int
    commit: int
    last_epoch: int
    config: bytes
    revision: int
    swap: bytes
    def __init__(self, partition: _Optional[int] = ..., epoch: _Optional[int] = ..., last_sequence: _Optional[int] = ..., commit: _Optional[int] = ..., last_epoch: _Optional[int] = ..., config: _Optional[bytes] = ..., revision: _Optional[int] = ..., swap: _Optional[bytes] = ...) -> None: ...

class PromoteRequest(_message.Message):
    __slots__ = ("partition", "to", "from_store", "revision")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    FROM_STORE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    partition: int
    to: str
    from_store: bool
    revision: int
    def __init__(self, partition: _Optional[int] = ..., to: _Optional[str] = ..., from_store: bool = ..., revision: _Optional[int] = ...) -> None: ...

class PromoteResponse(_message.Message):
    __slots__ = ("candidate", "may_lose", "revision", "store_cursor", "candidates", "done")
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    MAY_LOSE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    STORE_CURSOR_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    candidate: str
    may_lose: str
    revision: int
    store_cursor: int
    candidates: _containers.RepeatedCompositeFieldContainer[PromoteCandidate]
    done: bool
    def __init__(self, candidate: _Optional[str] = ..., may_lose: _Optional[str] = ..., revision: _Optional[int] = ..., store_cursor: _Optional[int] = ..., candidates: _Optional[_Iterable[_Union[PromoteCandidate, _Mapping]]] = ..., done: bool = ...) -> None: ...

class PromoteCandidate(_message.Message):
    __slots__ = ("incarnation", "last_sequence", "commit")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    incarnation: str
    last_sequence: int
    commit: int
    def __init__(self, incarnation: _Optional[str] = ..., last_sequence: _Optional[int] = ..., commit: _Optional[int] = ...) -> None: ...

class DrainStoreRequest(_message.Message):
    __slots__ = ("timeout_ms",)
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    timeout_ms: int
    def __init__(self, timeout_ms: _Optional[int] = ...) -> None: ...

class DrainStoreProgress(_message.Message):
    __slots__ = ("partitions_left", "records_left", "elapsed_s", "done", "cause", "bytes_left")
    PARTITIONS_LEFT_FIELD_NUMBER: _ClassVar[int]
    RECORDS_LEFT_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_S_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    BYTES_LEFT_FIELD_NUMBER: _ClassVar[int]
    partitions_left: int
    records_left: int
    elapsed_s: float
    done: bool
    cause: str
    bytes_left: int
    def __init__(self, partitions_left: _Optional[int] = ..., records_left: _Optional[int] = ..., elapsed_s: _Optional[float] = ..., done: bool = ..., cause: _Optional[str] = ..., bytes_left: _Optional[int] = ...) -> None: ...

class DeadLettersRequest(_message.Message):
    __slots__ = ("space", "key", "version", "limit", "superseded", "page_token")
    SPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    space: str
    key: bytes
    version: int
    limit: int
    superseded: bool
    page_token: str
    def __init__(self, space: _Optional[str] = ..., key: _Optional[bytes] = ..., version: _Optional[int] = ..., limit: _Optional[int] = ..., superseded: bool = ..., page_token: _Optional[str] = ...) -> None: ...

class DeadLetter(_message.Message):
    __slots__ = ("space", "key", "version", "error", "payload", "removal", "time_ms", "partition", "superseded", "result")
    SPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    REMOVAL_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    space: str
    key: bytes
    version: int
    error: str
    payload: bytes
    removal: bool
    time_ms: int
    partition: int
    superseded: int
    result: str
    def __init__(self, space: _Optional[str] = ..., key: _Optional[bytes] = ..., version: _Optional[int] = ..., error: _Optional[str] = ..., payload: _Optional[bytes] = ..., removal: bool = ..., time_ms: _Optional[int] = ..., partition: _Optional[int] = ..., superseded: _Optional[int] = ..., result: _Optional[str] = ...) -> None: ...

class DeadLettersResponse(_message.Message):
    __slots__ = ("letters", "count", "next_page_token")
    LETTERS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    letters: _containers.RepeatedCompositeFieldContainer[DeadLetter]
    count: int
    next_page_token: str
    def __init__(self, letters: _Optional[_Iterable[_Union[DeadLetter, _Mapping]]] = ..., count: _Optional[int] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RefreshRequest(_message.Message):
    __slots__ = ("space", "key", "partitions")
    SPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    space: str
    key: bytes
    partitions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, space: _Optional[str] = ..., key: _Optional[bytes] = ..., partitions: _Optional[_Iterable[int]] = ...) -> None: ...

class RefreshResponse(_message.Message):
    __slots__ = ("changed", "added", "removed", "same", "newer", "dead", "partitions", "refused")
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    ADDED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    SAME_FIELD_NUMBER: _ClassVar[int]
    NEWER_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    changed: int
    added: int
    removed: int
    same: int
    newer: int
    dead: int
    partitions: _containers.RepeatedScalarFieldContainer[int]
    refused: int
    def __init__(self, changed: _Optional[int] = ..., added: _Optional[int] = ..., removed: _Optional[int] = ..., same: _Optional[int] = ..., newer: _Optional[int] = ..., dead: _Optional[int] = ..., partitions: _Optional[_Iterable[int]] = ..., refused: _Optional[int] = ...) -> None: ...
