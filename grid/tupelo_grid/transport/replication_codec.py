"""Replication frames between the core's form and the wire's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

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


def _encode_records(records: Sequence[Record]) -> tuple[list[str], pb.RecordColumns]:
    """A column that holds nothing but its default is left out."""
    groups = [record[5] for record in records]
    counts = [len(group) for group in groups]
    if counts.count(1) == len(counts):
        mutations = [group[0] for group in groups]
        counts = []
    else:
        mutations = [one for group in groups for one in group]
    names = [one[0] for one in mutations]
    spaces = list(dict.fromkeys(names))
    values = [one[2] for one in mutations]
    deadlines = [one[3] for one in mutations]
    results = [record[4] for record in records]
    columns = pb.RecordColumns(
        kinds=bytes([record[0] for record in records]),
        sessions=[record[1] for record in records],
        op_numbers=[record[2] for record in records],
        floors=[record[3] for record in records],
        counts=counts,
        keys=[one[1] for one in mutations],
        deadlines_ms=deadlines if any(deadlines) else (),
    )
    if len(spaces) > 1:
        places = {name: place for place, name in enumerate(spaces)}
        columns.space_index.extend([places[name] for name in names])
    if None in values:
        columns.deleted = bytes([value is None for value in values])
        columns.values.extend([value or b"" for value in values])
    else:
        columns.values.extend(cast("list[bytes]", values))
    if results.count(None) != len(results):
        columns.results.extend([b"" if one is None else _encode(one) for one in results])
    return spaces, columns


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
        frame.probes = list(
            zip(
                message.probe_partitions,
                message.probe_epochs,
                message.probe_revisions,
                strict=True,
            )
        )
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
        frame.audits = list(
            zip(
                message.audit_kinds,
                message.audit_partitions,
                message.audit_epochs,
                message.audit_sequences,
                message.audit_digests,
                strict=True,
            )
        )
    except (ValueError, IndexError, msgspec.MsgspecError) as error:
        raise BadFrame(str(error)) from error
    return frame


def _pairs(a: Iterable[int], b: Iterable[int]) -> list[tuple[int, int]]:
    return list(zip(a, b, strict=True))


def _decode_records(spaces: list[str], columns: pb.RecordColumns) -> list[Record]:
    keys = list(columns.keys)
    values: list[bytes | None] = list(columns.values)
    if columns.deleted:
        pairs = zip(values, columns.deleted, strict=True)
        values = [None if gone else value for value, gone in pairs]
    names: Iterable[str] = (
        [spaces[place] for place in columns.space_index]
        if columns.space_index
        else [spaces[0]] * len(keys)
        if keys
        else ()
    )
    deadlines = columns.deadlines_ms or [0] * len(keys)
    mutations = list(zip(names, keys, values, deadlines, strict=True))
    kinds = columns.kinds
    results: list[Result | None] = (
        [_decode_result(one) if one else None for one in columns.results]
        if columns.results
        else [None] * len(kinds)
    )
    return list(
        zip(
            kinds,
            columns.sessions,
            columns.op_numbers,
            columns.floors,
            results,
            _groups(mutations, columns.counts),
            strict=True,
        )
    )


def _groups(mutations: list[Mutation], counts: Sequence[int]) -> list[tuple[Mutation, ...]]:
    if not counts:
        return [(one,) for one in mutations]
    groups, start = [], 0
    for count in counts:
        groups.append(tuple(mutations[start : start + count]))
        start += count
    if start != len(mutations):
        raise BadFrame("mutation counts do not add up")
    return groups


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
                damaged=one.damaged,
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
                one.damaged,
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
