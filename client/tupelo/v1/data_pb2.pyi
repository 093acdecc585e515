from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OpKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OP_KIND_UNSPECIFIED: _ClassVar[OpKind]
    OP_KIND_GET: _ClassVar[OpKind]
    OP_KIND_CONTAINS: _ClassVar[OpKind]
    OP_KIND_PUT: _ClassVar[OpKind]
    OP_KIND_PUT_IF_ABSENT: _ClassVar[OpKind]
    OP_KIND_REPLACE: _ClassVar[OpKind]
    OP_KIND_COMPARE_AND_SET: _ClassVar[OpKind]
    OP_KIND_DELETE: _ClassVar[OpKind]
    OP_KIND_DELETE_IF_VERSION: _ClassVar[OpKind]
    OP_KIND_CALL: _ClassVar[OpKind]
    OP_KIND_CALL_READ_ONLY: _ClassVar[OpKind]
    OP_KIND_COUNT: _ClassVar[OpKind]
    OP_KIND_SCAN: _ClassVar[OpKind]
    OP_KIND_GET_NEAR: _ClassVar[OpKind]

class ResultCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESULT_CODE_OK: _ClassVar[ResultCode]
    RESULT_CODE_NOT_FOUND: _ClassVar[ResultCode]
    RESULT_CODE_EXISTS: _ClassVar[ResultCode]
    RESULT_CODE_VERSION_MISMATCH: _ClassVar[ResultCode]
    RESULT_CODE_APPLICATION_ERROR: _ClassVar[ResultCode]
    RESULT_CODE_WRONG_OWNER: _ClassVar[ResultCode]
    RESULT_CODE_NOT_READY: _ClassVar[ResultCode]
    RESULT_CODE_OVERLOADED: _ClassVar[ResultCode]
    RESULT_CODE_STALE_TOKEN: _ClassVar[ResultCode]
    RESULT_CODE_SESSION_EXPIRED: _ClassVar[ResultCode]
    RESULT_CODE_PARTITION_LOST: _ClassVar[ResultCode]
    RESULT_CODE_NOT_ENOUGH_REPLICAS: _ClassVar[ResultCode]
    RESULT_CODE_UNKNOWN_SPACE: _ClassVar[ResultCode]
    RESULT_CODE_UNKNOWN_COMMAND: _ClassVar[ResultCode]
    RESULT_CODE_INVALID_ARGUMENT: _ClassVar[ResultCode]
    RESULT_CODE_KEY_TOO_LARGE: _ClassVar[ResultCode]
    RESULT_CODE_VALUE_TOO_LARGE: _ClassVar[ResultCode]
    RESULT_CODE_PARTITION_OUT_OF_RANGE: _ClassVar[ResultCode]
    RESULT_CODE_COMMAND_FAILED: _ClassVar[ResultCode]
    RESULT_CODE_SHUTTING_DOWN: _ClassVar[ResultCode]
    RESULT_CODE_OUTCOME_UNKNOWN: _ClassVar[ResultCode]
    RESULT_CODE_NOT_PERSISTED: _ClassVar[ResultCode]
    RESULT_CODE_ANSWER_FULL: _ClassVar[ResultCode]

class PersistState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PERSIST_STATE_UNSPECIFIED: _ClassVar[PersistState]
    PERSIST_STATE_STORED: _ClassVar[PersistState]
    PERSIST_STATE_PENDING: _ClassVar[PersistState]
    PERSIST_STATE_DEAD_LETTER: _ClassVar[PersistState]
    PERSIST_STATE_WRONG_OWNER: _ClassVar[PersistState]
    PERSIST_STATE_UNKNOWN: _ClassVar[PersistState]
OP_KIND_UNSPECIFIED: OpKind
OP_KIND_GET: OpKind
OP_KIND_CONTAINS: OpKind
OP_KIND_PUT: OpKind
OP_KIND_PUT_IF_ABSENT: OpKind
OP_KIND_REPLACE: OpKind
OP_KIND_COMPARE_AND_SET: OpKind
OP_KIND_DELETE: OpKind
OP_KIND_DELETE_IF_VERSION: OpKind
OP_KIND_CALL: OpKind
OP_KIND_CALL_READ_ONLY: OpKind
OP_KIND_COUNT: OpKind
OP_KIND_SCAN: OpKind
OP_KIND_GET_NEAR: OpKind
RESULT_CODE_OK: ResultCode
RESULT_CODE_NOT_FOUND: ResultCode
RESULT_CODE_EXISTS: ResultCode
RESULT_CODE_VERSION_MISMATCH: ResultCode
RESULT_CODE_APPLICATION_ERROR: ResultCode
RESULT_CODE_WRONG_OWNER: ResultCode
RESULT_CODE_NOT_READY: ResultCode
RESULT_CODE_OVERLOADED: ResultCode
RESULT_CODE_STALE_TOKEN: ResultCode
RESULT_CODE_SESSION_EXPIRED: ResultCode
RESULT_CODE_PARTITION_LOST: ResultCode
RESULT_CODE_NOT_ENOUGH_REPLICAS: ResultCode
RESULT_CODE_UNKNOWN_SPACE: ResultCode
RESULT_CODE_UNKNOWN_COMMAND: ResultCode
RESULT_CODE_INVALID_ARGUMENT: ResultCode
RESULT_CODE_KEY_TOO_LARGE: ResultCode
RESULT_CODE_VALUE_TOO_LARGE: ResultCode
RESULT_CODE_PARTITION_OUT_OF_RANGE: ResultCode
RESULT_CODE_COMMAND_FAILED: ResultCode
RESULT_CODE_SHUTTING_DOWN: ResultCode
RESULT_CODE_OUTCOME_UNKNOWN: ResultCode
RESULT_CODE_NOT_PERSISTED: ResultCode
RESULT_CODE_ANSWER_FULL: ResultCode
PERSIST_STATE_UNSPECIFIED: PersistState
PERSIST_STATE_STORED: PersistState
PERSIST_STATE_PENDING: PersistState
PERSIST_STATE_DEAD_LETTER: PersistState
PERSIST_STATE_WRONG_OWNER: PersistState
PERSIST_STATE_UNKNOWN: PersistState

class SessionRequest(_message.Message):
    __slots__ = ("request_id", "batches")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    batches: _containers.RepeatedCompositeFieldContainer[OpBatch]
    def __init__(self, request_id: _Optional[int] = ..., batches: _Optional[_Iterable[_Union[OpBatch, _Mapping]]] = ...) -> None: ...

class SessionResponse(_message.Message):
    __slots__ = ("request_id", "results", "route")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    results: _containers.RepeatedCompositeFieldContainer[BatchResult]
    route: RouteResponse
    def __init__(self, request_id: _Optional[int] = ..., results: _Optional[_Iterable[_Union[BatchResult, _Mapping]]] = ..., route: _Optional[_Union[RouteResponse, _Mapping]] = ...) -> None: ...

class OpBatch(_message.Message):
    __slots__ = ("grid_id", "table_version", "session", "acked_below", "strict", "timeout_ms", "targets", "kinds", "partitions", "target_index", "keys", "values", "op_numbers", "ttls_ms", "expected_versions", "bulk")
    GRID_ID_FIELD_NUMBER: _ClassVar[int]
    TABLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    ACKED_BELOW_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    TARGET_INDEX_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    OP_NUMBERS_FIELD_NUMBER: _ClassVar[int]
    TTLS_MS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    BULK_FIELD_NUMBER: _ClassVar[int]
    grid_id: bytes
    table_version: int
    session: int
    acked_below: int
    strict: bool
    timeout_ms: int
    targets: _containers.RepeatedScalarFieldContainer[str]
    kinds: bytes
    partitions: _containers.RepeatedScalarFieldContainer[int]
    target_index: _containers.RepeatedScalarFieldContainer[int]
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    values: _containers.RepeatedScalarFieldContainer[bytes]
    op_numbers: _containers.RepeatedScalarFieldContainer[int]
    ttls_ms: _containers.RepeatedScalarFieldContainer[int]
    expected_versions: _containers.RepeatedScalarFieldContainer[int]
    bulk: BulkBatch
    def __init__(self, grid_id: _Optional[bytes] = ..., table_version: _Optional[int] = ..., session: _Optional[int] = ..., acked_below: _Optional[int] = ..., strict: bool = ..., timeout_ms: _Optional[int] = ..., targets: _Optional[_Iterable[str]] = ..., kinds: _Optional[bytes] = ..., partitions: _Optional[_Iterable[int]] = ..., target_index: _Optional[_Iterable[int]] = ..., keys: _Optional[_Iterable[bytes]] = ..., values: _Optional[_Iterable[bytes]] = ..., op_numbers: _Optional[_Iterable[int]] = ..., ttls_ms: _Optional[_Iterable[int]] = ..., expected_versions: _Optional[_Iterable[int]] = ..., bulk: _Optional[_Union[BulkBatch, _Mapping]] = ...) -> None: ...

class BulkBatch(_message.Message):
    __slots__ = ("kind", "space", "partitions", "counts", "op_numbers", "keys", "values", "ttl_ms")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    OP_NUMBERS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    kind: OpKind
    space: str
    partitions: _containers.RepeatedScalarFieldContainer[int]
    counts: _containers.RepeatedScalarFieldContainer[int]
    op_numbers: _containers.RepeatedScalarFieldContainer[int]
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    values: _containers.RepeatedScalarFieldContainer[bytes]
    ttl_ms: int
    def __init__(self, kind: _Optional[_Union[OpKind, str]] = ..., space: _Optional[str] = ..., partitions: _Optional[_Iterable[int]] = ..., counts: _Optional[_Iterable[int]] = ..., op_numbers: _Optional[_Iterable[int]] = ..., keys: _Optional[_Iterable[bytes]] = ..., values: _Optional[_Iterable[bytes]] = ..., ttl_ms: _Optional[int] = ...) -> None: ...

class BatchResult(_message.Message):
    __slots__ = ("codes", "versions", "values", "epochs", "copies", "error_ops", "errors", "bulk", "refused")
    CODES_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    COPIES_FIELD_NUMBER: _ClassVar[int]
    ERROR_OPS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    BULK_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    codes: bytes
    versions: _containers.RepeatedScalarFieldContainer[int]
    values: _containers.RepeatedScalarFieldContainer[bytes]
    epochs: _containers.RepeatedScalarFieldContainer[int]
    copies: bytes
    error_ops: _containers.RepeatedScalarFieldContainer[int]
    errors: _containers.RepeatedCompositeFieldContainer[ErrorDetail]
    bulk: BulkResult
    refused: ErrorDetail
    def __init__(self, codes: _Optional[bytes] = ..., versions: _Optional[_Iterable[int]] = ..., values: _Optional[_Iterable[bytes]] = ..., epochs: _Optional[_Iterable[int]] = ..., copies: _Optional[bytes] = ..., error_ops: _Optional[_Iterable[int]] = ..., errors: _Optional[_Iterable[_Union[ErrorDetail, _Mapping]]] = ..., bulk: _Optional[_Union[BulkResult, _Mapping]] = ..., refused: _Optional[_Union[ErrorDetail, _Mapping]] = ...) -> None: ...

class BulkResult(_message.Message):
    __slots__ = ("codes", "versions", "values", "epochs", "copies")
    CODES_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    COPIES_FIELD_NUMBER: _ClassVar[int]
    codes: bytes
    versions: _containers.RepeatedScalarFieldContainer[int]
    values: _containers.RepeatedScalarFieldContainer[bytes]
    epochs: _containers.RepeatedScalarFieldContainer[int]
    copies: bytes
    def __init__(self, codes: _Optional[bytes] = ..., versions: _Optional[_Iterable[int]] = ..., values: _Optional[_Iterable[bytes]] = ..., epochs: _Optional[_Iterable[int]] = ..., copies: _Optional[bytes] = ...) -> None: ...

class ErrorDetail(_message.Message):
    __slots__ = ("code", "message", "fields")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    code: ResultCode
    message: str
    fields: bytes
    def __init__(self, code: _Optional[_Union[ResultCode, str]] = ..., message: _Optional[str] = ..., fields: _Optional[bytes] = ...) -> None: ...

class RouteRequest(_message.Message):
    __slots__ = ("known_version",)
    KNOWN_VERSION_FIELD_NUMBER: _ClassVar[int]
    known_version: int
    def __init__(self, known_version: _Optional[int] = ...) -> None: ...

class RouteResponse(_message.Message):
    __slots__ = ("grid_id", "table_version", "partitions", "incarnations", "addresses", "primaries", "epochs", "in_sync", "spaces", "lost", "time_ms")
    GRID_ID_FIELD_NUMBER: _ClassVar[int]
    TABLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    INCARNATIONS_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    PRIMARIES_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    IN_SYNC_FIELD_NUMBER: _ClassVar[int]
    SPACES_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    grid_id: bytes
    table_version: int
    partitions: int
    incarnations: _containers.RepeatedScalarFieldContainer[str]
    addresses: _containers.RepeatedScalarFieldContainer[str]
    primaries: _containers.RepeatedScalarFieldContainer[int]
    epochs: _containers.RepeatedScalarFieldContainer[int]
    in_sync: _containers.RepeatedScalarFieldContainer[bytes]
    spaces: _containers.RepeatedCompositeFieldContainer[SpaceInfo]
    lost: _containers.RepeatedScalarFieldContainer[int]
    time_ms: int
    def __init__(self, grid_id: _Optional[bytes] = ..., table_version: _Optional[int] = ..., partitions: _Optional[int] = ..., incarnations: _Optional[_Iterable[str]] = ..., addresses: _Optional[_Iterable[str]] = ..., primaries: _Optional[_Iterable[int]] = ..., epochs: _Optional[_Iterable[int]] = ..., in_sync: _Optional[_Iterable[bytes]] = ..., spaces: _Optional[_Iterable[_Union[SpaceInfo, _Mapping]]] = ..., lost: _Optional[_Iterable[int]] = ..., time_ms: _Optional[int] = ...) -> None: ...

class SpaceInfo(_message.Message):
    __slots__ = ("name", "schema")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    name: str
    schema: bytes
    def __init__(self, name: _Optional[str] = ..., schema: _Optional[bytes] = ...) -> None: ...

class NearRequest(_message.Message):
    __slots__ = ("grid_id", "spaces", "ping")
    GRID_ID_FIELD_NUMBER: _ClassVar[int]
    SPACES_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    grid_id: bytes
    spaces: _containers.RepeatedScalarFieldContainer[str]
    ping: int
    def __init__(self, grid_id: _Optional[bytes] = ..., spaces: _Optional[_Iterable[str]] = ..., ping: _Optional[int] = ...) -> None: ...

class NearFrame(_message.Message):
    __slots__ = ("echo", "partitions", "epochs", "after", "through", "resets", "counts", "keys", "versions", "space_index")
    ECHO_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    THROUGH_FIELD_NUMBER: _ClassVar[int]
    RESETS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    SPACE_INDEX_FIELD_NUMBER: _ClassVar[int]
    echo: int
    partitions: _containers.RepeatedScalarFieldContainer[int]
    epochs: _containers.RepeatedScalarFieldContainer[int]
    after: _containers.RepeatedScalarFieldContainer[int]
    through: _containers.RepeatedScalarFieldContainer[int]
    resets: bytes
    counts: _containers.RepeatedScalarFieldContainer[int]
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    versions: _containers.RepeatedScalarFieldContainer[int]
    space_index: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, echo: _Optional[int] = ..., partitions: _Optional[_Iterable[int]] = ..., epochs: _Optional[_Iterable[int]] = ..., after: _Optional[_Iterable[int]] = ..., through: _Optional[_Iterable[int]] = ..., resets: _Optional[bytes] = ..., counts: _Optional[_Iterable[int]] = ..., keys: _Optional[_Iterable[bytes]] = ..., versions: _Optional[_Iterable[int]] = ..., space_index: _Optional[_Iterable[int]] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("space", "key", "key_json", "strict")
    SPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    KEY_JSON_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    space: str
    key: bytes
    key_json: str
    strict: bool
    def __init__(self, space: _Optional[str] = ..., key: _Optional[bytes] = ..., key_json: _Optional[str] = ..., strict: bool = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("found", "value", "value_json", "version")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    VALUE_JSON_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    found: bool
    value: bytes
    value_json: str
    version: int
    def __init__(self, found: bool = ..., value: _Optional[bytes] = ..., value_json: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class PutRequest(_message.Message):
    __slots__ = ("space", "key", "key_json", "value", "value_json", "ttl_ms", "session", "op_number", "write_through")
    SPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    KEY_JSON_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    VALUE_JSON_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    OP_NUMBER_FIELD_NUMBER: _ClassVar[int]
    WRITE_THROUGH_FIELD_NUMBER: _ClassVar[int]
    space: str
    key: bytes
    key_json: str
    value: bytes
    value_json: str
    ttl_ms: int
    session: int
    op_number: int
    write_through: bool
    def __init__(self, space: _Optional[str] = ..., key: _Optional[bytes] = ..., key_json: _Optional[str] = ..., value: _Optional[bytes] = ..., value_json: _Optional[str] = ..., ttl_ms: _Optional[int] = ..., session: _Optional[int] = ..., op_number: _Optional[int] = ..., write_through: bool = ...) -> None: ...

class CompareAndSetRequest(_message.Message):
    __slots__ = ("put", "expected_version")
    PUT_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_VERSION_FIELD_NUMBER: _ClassVar[int]
    put: PutRequest
    expected_version: int
    def __init__(self, put: _Optional[_Union[PutRequest, _Mapping]] = ..., expected_version: _Optional[int] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("space", "key", "key_json", "expected_version", "session", "op_number", "write_through")
    SPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    KEY_JSON_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_VERSION_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    OP_NUMBER_FIELD_NUMBER: _ClassVar[int]
    WRITE_THROUGH_FIELD_NUMBER: _ClassVar[int]
    space: str
    key: bytes
    key_json: str
    expected_version: int
    session: int
    op_number: int
    write_through: bool
    def __init__(self, space: _Optional[str] = ..., key: _Optional[bytes] = ..., key_json: _Optional[str] = ..., expected_version: _Optional[int] = ..., session: _Optional[int] = ..., op_number: _Optional[int] = ..., write_through: bool = ...) -> None: ...

class WriteToken(_message.Message):
    __slots__ = ("partition", "epoch", "sequence")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    partition: int
    epoch: int
    sequence: int
    def __init__(self, partition: _Optional[int] = ..., epoch: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class WriteResponse(_message.Message):
    __slots__ = ("applied", "version", "token", "copies")
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    COPIES_FIELD_NUMBER: _ClassVar[int]
    applied: bool
    version: int
    token: WriteToken
    copies: int
    def __init__(self, applied: bool = ..., version: _Optional[int] = ..., token: _Optional[_Union[WriteToken, _Mapping]] = ..., copies: _Optional[int] = ...) -> None: ...

class ContainsResponse(_message.Message):
    __slots__ = ("found",)
    FOUND_FIELD_NUMBER: _ClassVar[int]
    found: bool
    def __init__(self, found: bool = ...) -> None: ...

class CountRequest(_message.Message):
    __slots__ = ("space",)
    SPACE_FIELD_NUMBER: _ClassVar[int]
    space: str
    def __init__(self, space: _Optional[str] = ...) -> None: ...

class CountResponse(_message.Message):
    __slots__ = ("count",)
    COUNT_FIELD_NUMBER: _ClassVar[int]
    count: int
    def __init__(self, count: _Optional[int] = ...) -> None: ...

class ScanRequest(_message.Message):
    __slots__ = ("space", "limit", "page_token")
    SPACE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    space: str
    limit: int
    page_token: str
    def __init__(self, space: _Optional[str] = ..., limit: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ScanResponse(_message.Message):
    __slots__ = ("keys", "values", "versions", "next_page_token")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    values: _containers.RepeatedScalarFieldContainer[bytes]
    versions: _containers.RepeatedScalarFieldContainer[int]
    next_page_token: str
    def __init__(self, keys: _Optional[_Iterable[bytes]] = ..., values: _Optional[_Iterable[bytes]] = ..., versions: _Optional[_Iterable[int]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CallRequest(_message.Message):
    __slots__ = ("command", "arguments", "arguments_json", "session", "op_number", "write_through")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_JSON_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    OP_NUMBER_FIELD_NUMBER: _ClassVar[int]
    WRITE_THROUGH_FIELD_NUMBER: _ClassVar[int]
    command: str
    arguments: bytes
    arguments_json: str
    session: int
    op_number: int
    write_through: bool
    def __init__(self, command: _Optional[str] = ..., arguments: _Optional[bytes] = ..., arguments_json: _Optional[str] = ..., session: _Optional[int] = ..., op_number: _Optional[int] = ..., write_through: bool = ...) -> None: ...

class CallResponse(_message.Message):
    __slots__ = ("result", "result_json", "token")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    RESULT_JSON_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    result: bytes
    result_json: str
    token: WriteToken
    def __init__(self, result: _Optional[bytes] = ..., result_json: _Optional[str] = ..., token: _Optional[_Union[WriteToken, _Mapping]] = ...) -> None: ...

class WaitPersistedRequest(_message.Message):
    __slots__ = ("grid_id", "tokens", "timeout_ms", "declared_only")
    GRID_ID_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    DECLARED_ONLY_FIELD_NUMBER: _ClassVar[int]
    grid_id: bytes
    tokens: _containers.RepeatedCompositeFieldContainer[WriteToken]
    timeout_ms: int
    declared_only: bool
    def __init__(self, grid_id: _Optional[bytes] = ..., tokens: _Optional[_Iterable[_Union[WriteToken, _Mapping]]] = ..., timeout_ms: _Optional[int] = ..., declared_only: bool = ...) -> None: ...

class WaitPersistedResponse(_message.Message):
    __slots__ = ("states", "errors", "lag_records", "lag_bytes", "lag_s", "cause")
    STATES_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    LAG_RECORDS_FIELD_NUMBER: _ClassVar[int]
    LAG_BYTES_FIELD_NUMBER: _ClassVar[int]
    LAG_S_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    states: bytes
    errors: _containers.RepeatedScalarFieldContainer[str]
    lag_records: int
    lag_bytes: int
    lag_s: float
    cause: str
    def __init__(self, states: _Optional[bytes] = ..., errors: _Optional[_Iterable[str]] = ..., lag_records: _Optional[int] = ..., lag_bytes: _Optional[int] = ..., lag_s: _Optional[float] = ..., cause: _Optional[str] = ...) -> None: ...
