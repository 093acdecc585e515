from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReplicationFrame(_message.Message):
    __slots__ = ("grid_id", "sender", "receiver", "stream_id", "position", "appends", "catch_ups", "snapshots", "probe_partitions", "probe_epochs", "probe_revisions", "confirm_partitions", "confirm_epochs", "commit_partitions", "commit_epochs", "commit_sequences", "persisted_sequences", "audit_kinds", "audit_partitions", "audit_epochs", "audit_sequences", "audit_digests", "short")
    GRID_ID_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    RECEIVER_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    APPENDS_FIELD_NUMBER: _ClassVar[int]
    CATCH_UPS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    PROBE_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    PROBE_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    PROBE_REVISIONS_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    COMMIT_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    COMMIT_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    COMMIT_SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    PERSISTED_SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    AUDIT_KINDS_FIELD_NUMBER: _ClassVar[int]
    AUDIT_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    AUDIT_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    AUDIT_SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    AUDIT_DIGESTS_FIELD_NUMBER: _ClassVar[int]
    SHORT_FIELD_NUMBER: _ClassVar[int]
    grid_id: bytes
    sender: str
    receiver: str
    stream_id: int
    position: int
    appends: bytes
    catch_ups: _containers.RepeatedCompositeFieldContainer[CatchUp]
    snapshots: _containers.RepeatedCompositeFieldContainer[SnapshotChunk]
    probe_partitions: _containers.RepeatedScalarFieldContainer[int]
    probe_epochs: _containers.RepeatedScalarFieldContainer[int]
    probe_revisions: _containers.RepeatedScalarFieldContainer[int]
    confirm_partitions: _containers.RepeatedScalarFieldContainer[int]
    confirm_epochs: _containers.RepeatedScalarFieldContainer[int]
    commit_partitions: _containers.RepeatedScalarFieldContainer[int]
    commit_epochs: _containers.RepeatedScalarFieldContainer[int]
    commit_sequences: _containers.RepeatedScalarFieldContainer[int]
    persisted_sequences: _containers.RepeatedScalarFieldContainer[int]
    audit_kinds: bytes
    audit_partitions: _containers.RepeatedScalarFieldContainer[int]
    audit_epochs: _containers.RepeatedScalarFieldContainer[int]
    audit_sequences: _containers.RepeatedScalarFieldContainer[int]
    audit_digests: _containers.RepeatedScalarFieldContainer[int]
    short: bool
    def __init__(self, grid_id: _Optional[bytes] = ..., sender: _Optional[str] = ..., receiver: _Optional[str] = ..., stream_id: _Optional[int] = ..., position: _Optional[int] = ..., appends: _Optional[bytes] = ..., catch_ups: _Optional[_Iterable[_Union[CatchUp, _Mapping]]] = ..., snapshots: _Optional[_Iterable[_Union[SnapshotChunk, _Mapping]]] = ..., probe_partitions: _Optional[_Iterable[int]] = ..., probe_epochs: _Optional[_Iterable[int]] = ..., probe_revisions: _Optional[_Iterable[int]] = ..., confirm_partitions: _Optional[_Iterable[int]] = ..., confirm_epochs: _Optional[_Iterable[int]] = ..., commit_partitions: _Optional[_Iterable[int]] = ..., commit_epochs: _Optional[_Iterable[int]] = ..., commit_sequences: _Optional[_Iterable[int]] = ..., persisted_sequences: _Optional[_Iterable[int]] = ..., audit_kinds: _Optional[bytes] = ..., audit_partitions: _Optional[_Iterable[int]] = ..., audit_epochs: _Optional[_Iterable[int]] = ..., audit_sequences: _Optional[_Iterable[int]] = ..., audit_digests: _Optional[_Iterable[int]] = ..., short: bool = ...) -> None: ...

class CatchUp(_message.Message):
    __slots__ = ("partition", "epoch", "previous_sequence", "previous_epoch", "commit", "run_starts", "run_epochs", "records")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_EPOCH_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    RUN_STARTS_FIELD_NUMBER: _ClassVar[int]
    RUN_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    partition: int
    epoch: int
    previous_sequence: int
    previous_epoch: int
    commit: int
    run_starts: _containers.RepeatedScalarFieldContainer[int]
    run_epochs: _containers.RepeatedScalarFieldContainer[int]
    records: bytes
    def __init__(self, partition: _Optional[int] = ..., epoch: _Optional[int] = ..., previous_sequence: _Optional[int] = ..., previous_epoch: _Optional[int] = ..., commit: _Optional[int] = ..., run_starts: _Optional[_Iterable[int]] = ..., run_epochs: _Optional[_Iterable[int]] = ..., records: _Optional[bytes] = ...) -> None: ...

class SnapshotChunk(_message.Message):
    __slots__ = ("partition", "epoch", "snapshot_id", "index", "last", "crc", "body")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    CRC_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    partition: int
    epoch: int
    snapshot_id: int
    index: int
    last: bool
    crc: int
    body: bytes
    def __init__(self, partition: _Optional[int] = ..., epoch: _Optional[int] = ..., snapshot_id: _Optional[int] = ..., index: _Optional[int] = ..., last: bool = ..., crc: _Optional[int] = ..., body: _Optional[bytes] = ...) -> None: ...

class ReplicationAck(_message.Message):
    __slots__ = ("grid_id", "sender", "receiver", "stream_id", "position", "reset", "positions", "paused", "trouble", "short")
    GRID_ID_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    RECEIVER_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    SHORT_FIELD_NUMBER: _ClassVar[int]
    grid_id: bytes
    sender: str
    receiver: str
    stream_id: int
    position: int
    reset: bool
    positions: _containers.RepeatedCompositeFieldContainer[PartitionPosition]
    paused: _containers.RepeatedScalarFieldContainer[int]
    trouble: str
    short: bool
    def __init__(self, grid_id: _Optional[bytes] = ..., sender: _Optional[str] = ..., receiver: _Optional[str] = ..., stream_id: _Optional[int] = ..., position: _Optional[int] = ..., reset: bool = ..., positions: _Optional[_Iterable[_Union[PartitionPosition, _Mapping]]] = ..., paused: _Optional[_Iterable[int]] = ..., trouble: _Optional[str] = ..., short: bool = ...) -> None: ...

class PartitionPosition(_message.Message):
    __slots__ = ("partition", "epoch", "refused", "last_sequence", "cut_base", "damaged", "run_starts", "run_epochs", "snapshot_id", "next_chunk")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CUT_BASE_FIELD_NUMBER: _ClassVar[int]
    DAMAGED_FIELD_NUMBER: _ClassVar[int]
    RUN_STARTS_FIELD_NUMBER: _ClassVar[int]
    RUN_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    NEXT_CHUNK_FIELD_NUMBER: _ClassVar[int]
    partition: int
    epoch: int
    refused: bool
    last_sequence: int
    cut_base: int
    damaged: bool
    run_starts: _containers.RepeatedScalarFieldContainer[int]
    run_epochs: _containers.RepeatedScalarFieldContainer[int]
    snapshot_id: int
    next_chunk: int
    def __init__(self, partition: _Optional[int] = ..., epoch: _Optional[int] = ..., refused: bool = ..., last_sequence: _Optional[int] = ..., cut_base: _Optional[int] = ..., damaged: bool = ..., run_starts: _Optional[_Iterable[int]] = ..., run_epochs: _Optional[_Iterable[int]] = ..., snapshot_id: _Optional[int] = ..., next_chunk: _Optional[int] = ...) -> None: ...
