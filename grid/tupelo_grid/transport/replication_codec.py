"""Replication frames between the core's form and the wire's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from tupelo.v1 import replication_pb2 as pb

from tupelo_grid.core.frames import Ack, CatchUp, Frame, Position, SnapshotChunk
from tupelo_grid.core.records import Mutation, Record, Result

_encode = msgspec.msgpack.encode
_decode_result = msgspec.msgpack.Decoder(tuple[int, int, bytes]).decode


class BadFrame(ValueError):
    """A frame whose columns do not fit together."""


def encode_frame(frame: Frame, grid_id: bytes) -> pb.ReplicationFrame:
    message = pb.ReplicationFrame(
        grid_id=grid_id,
        sender=frame.sender,
        receiver=frame.receiver,
        stream_id=frame.stream_id,
        position=frame.position,
        catch_ups=[_encode_catch_up(one) for one in frame.catch_ups],
        snapshots=[_encode_chunk(one) for one in frame.snapshots],
    )
    if frame.records:
        spaces, columns = _encode_records(frame.records)
        message.appends.CopyFrom(
            pb.AppendColumns(
                spaces=spaces,
                partitions=frame.partitions,
                epochs=frame.epochs,
                sequences=frame.sequences,
                records=columns,
            )
        )
    if frame.probes:
        message.probe_partitions.extend(number for number, _ in frame.probes)
        message.probe_epochs.extend(epoch for _, epoch in frame.probes)
    if frame.confirms:
        message.confirm_partitions.extend(number for number, _ in frame.confirms)
        message.confirm_epochs.extend(epoch for _, epoch in frame.confirms)
    if frame.commits:
        message.commit_partitions.extend(row[0] for row in frame.commits)
        message.commit_epochs.extend(row[1] for row in frame.commits)
        message.commit_sequences.extend(row[2] for row in frame.commits)
        message.persisted_sequences.extend(row[3] for row in frame.commits)
    return message


def _encode_records(records: Sequence[Record]) -> tuple[list[str], pb.RecordColumns]:
    mutations: Sequence[Mutation] = [one for record in records for one in record[5]]
    names = dict.fromkeys([one[0] for one in mutations])
    spaces = list(names)
    places = {name: place for place, name in enumerate(spaces)}
    results: Iterable[bytes] = [
        b"" if record[4] is None else _encode(record[4]) for record in records
    ]
    return spaces, pb.RecordColumns(
        kinds=bytes([record[0] for record in records]),
        sessions=[record[1] for record in records],
        op_numbers=[record[2] for record in records],
        floors=[record[3] for record in records],
        results=results,
        counts=[len(record[5]) for record in records],
        space_index=[places[one[0]] for one in mutations],
        keys=[one[1] for one in mutations],
        values=[one[2] or b"" for one in mutations],
        deleted=bytes([one[2] is None for one in mutations]),
        deadlines_ms=[one[3] for one in mutations],
    )


def _encode_catch_up(one: CatchUp) -> pb.CatchUp:
    spaces, columns = _encode_records(one.records)
    return pb.CatchUp(
        partition=one.partition,
        epoch=one.epoch,
        previous_sequence=one.previous_sequence,
        previous_epoch=one.previous_epoch,
        commit=one.commit,
        run_starts=[start for start, _ in one.runs],
        run_epochs=[epoch for _, epoch in one.runs],
        spaces=spaces,
        records=columns,
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
        if message.HasField("appends"):
            appends = message.appends
            frame.partitions = list(appends.partitions)
            frame.epochs = list(appends.epochs)
            frame.sequences = list(appends.sequences)
            frame.records = _decode_records(list(appends.spaces), appends.records)
            if not (
                len(frame.partitions)
                == len(frame.epochs)
                == len(frame.sequences)
                == len(frame.records)
            ):
                raise BadFrame("append columns of unequal length")
        frame.catch_ups = [_decode_catch_up(one) for one in message.catch_ups]
        frame.snapshots = [_decode_chunk(one) for one in message.snapshots]
        frame.probes = _pairs(message.probe_partitions, message.probe_epochs)
        frame.confirms = _pairs(message.confirm_partitions, message.confirm_epochs)
        frame.commits = list(
            zip(
                message.commit_partitions,
                message.commit_epochs,
                message.commit_sequences,
                message.persisted_sequences,
                strict=True,
            )
        )
    except (ValueError, IndexError, msgspec.MsgspecError) as error:
        raise BadFrame(str(error)) from error
    return frame


def _pairs(a: Iterable[int], b: Iterable[int]) -> list[tuple[int, int]]:
    return list(zip(a, b, strict=True))


def _decode_records(spaces: list[str], columns: pb.RecordColumns) -> list[Record]:
    keys, values, deleted = list(columns.keys), list(columns.values), columns.deleted
    names = [spaces[place] for place in columns.space_index]
    deadlines = list(columns.deadlines_ms)
    if any(deleted):
        written: list[bytes | None] = [
            None if gone else value for value, gone in zip(values, deleted, strict=True)
        ]
        mutations = list(zip(names, keys, written, deadlines, strict=True))
    else:
        mutations = list(zip(names, keys, values, deadlines, strict=True))
    groups: list[tuple[Mutation, ...]] = []
    counts = list(columns.counts)
    if len(mutations) == len(counts) and counts.count(1) == len(counts):
        groups = [(one,) for one in mutations]
    else:
        start = 0
        for count in counts:
            groups.append(tuple(mutations[start : start + count]))
            start += count
        if start != len(mutations):
            raise BadFrame("mutation counts do not add up")
    results: list[Result | None] = [
        _decode_result(result) if result else None for result in columns.results
    ]
    return list(
        zip(
            columns.kinds,
            columns.sessions,
            columns.op_numbers,
            columns.floors,
            results,
            groups,
            strict=True,
        )
    )


def _decode_catch_up(one: pb.CatchUp) -> CatchUp:
    return CatchUp(
        partition=one.partition,
        epoch=one.epoch,
        previous_sequence=one.previous_sequence,
        previous_epoch=one.previous_epoch,
        commit=one.commit,
        runs=_pairs(one.run_starts, one.run_epochs),
        records=_decode_records(list(one.spaces), one.records),
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
                last_sequence=one.last,
                cut_base=one.cut_base,
                run_starts=[start for start, _ in one.runs],
                run_epochs=[epoch for _, epoch in one.runs],
            )
            for one in ack.positions
        ],
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
    )
