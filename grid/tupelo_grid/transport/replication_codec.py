"""Replication frames between the core's form and the wire's."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from tupelo.v1 import replication_pb2 as pb

from tupelo_grid.core.frames import Ack, CatchUp, Frame, Position, SnapshotChunk
from tupelo_grid.transport.record_columns import (
    decode_appends,
    decode_records,
    encode_appends,
    encode_records,
)


class BadFrame(ValueError):
    """A frame whose columns do not fit together."""


def encode_frame(frame: Frame, grid_id: bytes) -> pb.ReplicationFrame:
    message = pb.ReplicationFrame(
        grid_id=grid_id,
        sender=frame.sender,
        receiver=frame.receiver,
        stream_id=frame.stream_id,
        position=frame.position,
    )
    if frame.records:
        message.appends = encode_appends(
            frame.partitions, frame.epochs, frame.sequences, frame.records
        )
    if frame.catch_ups:
        message.catch_ups.extend([_encode_catch_up(one) for one in frame.catch_ups])
    if frame.snapshots:
        message.snapshots.extend([_encode_chunk(one) for one in frame.snapshots])
    if frame.probes:
        message.probe_partitions.extend(row[0] for row in frame.probes)
        message.probe_epochs.extend(row[1] for row in frame.probes)
        message.probe_revisions.extend(row[2] for row in frame.probes)
    if frame.confirms:
        message.confirm_partitions.extend(number for number, _ in frame.confirms)
        message.confirm_epochs.extend(epoch for _, epoch in frame.confirms)
    if frame.commits:
        message.commit_partitions.extend(row[0] for row in frame.commits)
        message.commit_epochs.extend(row[1] for row in frame.commits)
        message.commit_sequences.extend(row[2] for row in frame.commits)
        message.persisted_sequences.extend(row[3] for row in frame.commits)
    if frame.audits:
        message.audit_kinds = bytes([row[0] for row in frame.audits])
        message.audit_partitions.extend(row[1] for row in frame.audits)
        message.audit_epochs.extend(row[2] for row in frame.audits)
        message.audit_sequences.extend(row[3] for row in frame.audits)
        message.audit_digests.extend(row[4] for row in frame.audits)
    return message


def _encode_catch_up(one: CatchUp) -> pb.CatchUp:
    return pb.CatchUp(
        partition=one.partition,
        epoch=one.epoch,
        previous_sequence=one.previous_sequence,
        previous_epoch=one.previous_epoch,
        commit=one.commit,
        run_starts=[start for start, _ in one.runs],
        run_epochs=[epoch for _, epoch in one.runs],
        records=encode_records(one.records),
    )


def _encode_chunk(one: SnapshotChunk) -> pb.SnapshotChunk:
    return pb.SnapshotChunk(
        partition=one.partition,
        epoch=one.epoch,
        snapshot_id=one.snapshot_id,
        index=one.index,
        last=one.last,
        crc=one.crc,
        body=one.body,
    )


def decode_frame(message: pb.ReplicationFrame) -> Frame:
    """Raises BadFrame."""
    frame = Frame(message.sender, message.receiver, message.stream_id, message.position)
    try:
        if message.appends:
            _take_appends(frame, message.appends)
        # Most frames have nothing but appends, and looking costs less than taking over nothing.
        if message.catch_ups:
            frame.catch_ups = [_decode_catch_up(one) for one in message.catch_ups]
        if message.snapshots:
            frame.snapshots = [_decode_chunk(one) for one in message.snapshots]
        _decode_rows(message, frame)
    except (ValueError, IndexError, msgspec.MsgspecError) as error:
        raise BadFrame(str(error)) from error
    return frame


def _take_appends(frame: Frame, appends: bytes) -> None:
    """Raises BadFrame."""
    try:
        columns = decode_appends(appends)
    except (ValueError, IndexError, msgspec.MsgspecError) as error:
        raise BadFrame(str(error)) from error
    frame.partitions, frame.epochs, frame.sequences, frame.records = columns


def _decode_rows(message: pb.ReplicationFrame, frame: Frame) -> None:
    probes, confirms = message.probe_partitions, message.confirm_partitions
    commits, audits = message.commit_partitions, message.audit_kinds
    if probes or message.probe_epochs or message.probe_revisions:
        columns = (probes, message.probe_epochs, message.probe_revisions)
        frame.probes = list(zip(*columns, strict=True))
    if confirms or message.confirm_epochs:
        frame.confirms = _pairs(confirms, message.confirm_epochs)
    if commits or message.commit_epochs:
        frame.commits = list(
            zip(
                commits,
                message.commit_epochs,
                message.commit_sequences,
                message.persisted_sequences,
                strict=True,
            )
        )
    if audits or message.audit_partitions:
        frame.audits = list(
            zip(
                audits,
                message.audit_partitions,
                message.audit_epochs,
                message.audit_sequences,
                message.audit_digests,
                strict=True,
            )
        )


def _pairs(a: Iterable[int], b: Iterable[int]) -> list[tuple[int, int]]:
    return list(zip(a, b, strict=True))


def _decode_catch_up(one: pb.CatchUp) -> CatchUp:
    return CatchUp(
        partition=one.partition,
        epoch=one.epoch,
        previous_sequence=one.previous_sequence,
        previous_epoch=one.previous_epoch,
        commit=one.commit,
        runs=_pairs(one.run_starts, one.run_epochs),
        records=decode_records(one.records),
    )


def _decode_chunk(one: pb.SnapshotChunk) -> SnapshotChunk:
    return SnapshotChunk(
        one.partition, one.epoch, one.snapshot_id, one.index, one.last, one.crc, one.body
    )


def encode_ack(ack: Ack, grid_id: bytes) -> pb.ReplicationAck:
    return pb.ReplicationAck(
        grid_id=grid_id,
        sender=ack.sender,
        receiver=ack.receiver,
        stream_id=ack.stream_id,
        position=ack.position,
        reset=ack.reset,
        positions=[
            pb.PartitionPosition(
                partition=one.partition,
                epoch=one.epoch,
                refused=one.refused,
                damaged=one.damaged,
                last_sequence=one.last,
                cut_base=one.cut_base,
                run_starts=[start for start, _ in one.runs],
                run_epochs=[epoch for _, epoch in one.runs],
                snapshot_id=one.snapshot_id,
                next_chunk=one.next_chunk,
            )
            for one in ack.positions
        ],
        paused=ack.paused,
        trouble=ack.trouble,
    )


def decode_ack(message: pb.ReplicationAck) -> Ack:
    """Raises BadFrame."""
    try:
        positions = [
            Position(
                one.partition,
                one.epoch,
                one.refused,
                one.last_sequence,
                one.cut_base,
                _pairs(one.run_starts, one.run_epochs),
                one.damaged,
                one.snapshot_id,
                one.next_chunk,
            )
            for one in message.positions
        ]
    except ValueError as error:
        raise BadFrame(str(error)) from error
    return Ack(
        message.sender,
        message.receiver,
        message.stream_id,
        message.position,
        message.reset,
        positions,
        message.paused[:] if message.paused else (),
        message.trouble,
    )


Stream = tuple[str, str, int]
"""Sender, receiver and number of the stream that a message belongs to."""


class _Direction:
    """What goes one way on a connection. Of messages that follow others of their stream and say
    nothing but what nearly all say, what was said before is left out: looking at what is not there
    would cost as much as a dozen records."""

    def __init__(self, grid_id: bytes) -> None:
        self._grid_id = grid_id
        self._said: Stream | None = None

    def _repeats(self, message: Frame | Ack) -> bool:
        """Whether its stream is that of the message before it; remembers it for the next."""
        before = self._said
        self._said = (message.sender, message.receiver, message.stream_id)
        return self._said == before

    def _stream(self) -> Stream:
        """Of a short message that came in."""
        if self._said is None:
            raise BadFrame("a short message that follows none")
        return self._said

    def _check_grid(self, named: bytes) -> None:
        if named != self._grid_id:
            raise BadFrame("it belongs to another grid")


class FrameWriter(_Direction):
    """Frames that go out."""

    def write(self, frame: Frame) -> bytes:
        if not self._repeats(frame) or not frame.only_records:
            return encode_frame(frame, self._grid_id).SerializeToString()
        columns = (frame.partitions, frame.epochs, frame.sequences, frame.records)
        return pb.ReplicationFrame(
            short=True, position=frame.position, appends=encode_appends(*columns)
        ).SerializeToString()


class FrameReader(_Direction):
    """Frames that come in."""

    def read(self, body: bytes) -> Frame:
        """Raises BadFrame, DecodeError."""
        message = pb.ReplicationFrame.FromString(body)
        if message.short:
            frame = Frame(*self._stream(), message.position)
            _take_appends(frame, message.appends)
            return frame
        self._check_grid(message.grid_id)
        frame = decode_frame(message)
        self._repeats(frame)
        return frame


class AckWriter(_Direction):
    """Acknowledgements that go out."""

    def write(self, ack: Ack) -> bytes:
        if not self._repeats(ack) or not ack.only_position:
            return encode_ack(ack, self._grid_id).SerializeToString()
        return pb.ReplicationAck(short=True, position=ack.position).SerializeToString()


class AckReader(_Direction):
    """Acknowledgements that come in."""

    def read(self, body: bytes) -> Ack:
        """Raises BadFrame, DecodeError."""
        message = pb.ReplicationAck.FromString(body)
        if message.short:
            return Ack(*self._stream(), message.position)
        self._check_grid(message.grid_id)
        ack = decode_ack(message)
        self._repeats(ack)
        return ack
