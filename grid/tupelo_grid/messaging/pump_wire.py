"""Pump frames and answers between the core's shapes and proto/tupelo/v1/pump.proto."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from operator import itemgetter
from typing import Final

from tupelo.v1 import pump_pb2

from tupelo_grid.core.pump_frames import (
    Answer,
    Change,
    DeadRow,
    PartitionBatch,
    PumpAck,
    PumpFrame,
)

DEAD_TOLD_MAX: Final = 64
"""Changes put aside that an answer names; whoever waits for another one of so many in a frame is
told only that it was passed."""

DEAD_TEXT_MAX: Final = 300
"""Characters of their errors that go along; the dead letter has more."""

_VERSION: Final = itemgetter(3)  # of a change


class BadFrame(ValueError):
    """A message that contradicts itself. The text says what is wrong with it."""


def encode_frame(frame: PumpFrame, grid_id: bytes, sender: str) -> pump_pb2.PumpFrame:
    spaces: dict[str, int] = {}
    index: list[int] = []
    keys: list[bytes] = []
    values: list[bytes] = []
    deleted = bytearray()
    versions: list[int] = []
    deadlines: list[int] = []
    for batch in frame.batches:
        for space, key, value, version, deadline_ms in batch.changes:
            index.append(spaces.setdefault(space, len(spaces)))
            keys.append(key)
            values.append(b"" if value is None else value)
            deleted.append(value is None)
            versions.append(version)
            deadlines.append(deadline_ms)
    return pump_pb2.PumpFrame(
        grid_id=grid_id,
        sender=sender,
        position=frame.position,
        claim_partitions=[partition for partition, _ in frame.claims],
        claim_epochs=[epoch for _, epoch in frame.claims],
        changes=pump_pb2.PumpColumns(
            spaces=list(spaces),
            partitions=[batch.partition for batch in frame.batches],
            epochs=[batch.epoch for batch in frame.batches],
            from_sequences=[batch.from_sequence for batch in frame.batches],
            to_sequences=[batch.to_sequence for batch in frame.batches],
            counts=[len(batch.changes) for batch in frame.batches],
            space_index=index,
            keys=keys,
            values=values,
            deleted=bytes(deleted),
            versions=versions,
            deadlines_ms=deadlines,
        ),
    )


def decode_frame(message: pump_pb2.PumpFrame) -> PumpFrame:
    """Raises BadFrame."""
    if not message.position:
        raise BadFrame("position is 0; frames are numbered from 1")
    _same(len(message.claim_partitions), claim_epochs=message.claim_epochs)
    claims = list(zip(message.claim_partitions, message.claim_epochs, strict=True))
    batches = _decode_batches(message.changes)
    named = [partition for partition, _ in claims] + [batch.partition for batch in batches]
    if len(set(named)) < len(named):
        raise BadFrame("a partition occurs twice in one frame")
    return PumpFrame(message.position, claims, batches)


def _decode_batches(columns: pump_pb2.PumpColumns) -> list[PartitionBatch]:
    _same(
        len(columns.partitions),
        epochs=columns.epochs,
        from_sequences=columns.from_sequences,
        to_sequences=columns.to_sequences,
        counts=columns.counts,
    )
    counts = columns.counts[:]
    _same(
        sum(counts),
        space_index=columns.space_index,
        keys=columns.keys,
        values=columns.values,
        deleted=columns.deleted,
        versions=columns.versions,
        deadlines_ms=columns.deadlines_ms,
    )
    changes = _decode_changes(columns)
    batches = []
    start = 0
    rows = zip(
        columns.partitions[:],
        columns.epochs[:],
        columns.from_sequences[:],
        columns.to_sequences[:],
        counts,
        strict=True,
    )
    for partition, epoch, first, last, count in rows:
        mine = changes[start : start + count]
        start += count
        if first >= last or last >= 2**63:
            raise BadFrame(f"partition {partition} goes from sequence {first} to {last}")
        if mine and not first < min(map(_VERSION, mine)) <= max(map(_VERSION, mine)) <= last:
            raise BadFrame(f"partition {partition} has a version outside ({first}, {last}]")
        batches.append(PartitionBatch(partition, epoch, first, last, mine))
    return batches


def _decode_changes(columns: pump_pb2.PumpColumns) -> list[Change]:
    # Slices, since protobuf makes them at one go.
    names, index = columns.spaces[:], columns.space_index[:]
    if index and max(index) >= len(names):
        raise BadFrame(f"space_index {max(index)} of {len(names)} spaces")
    rows = zip(
        index,
        columns.keys[:],
        columns.values[:],
        columns.deleted,
        columns.versions[:],
        columns.deadlines_ms[:],
        strict=True,
    )
    return [
        (names[at], key, None if gone else value, version, deadline_ms)
        for at, key, value, gone, version, deadline_ms in rows
    ]


def _same(length: int, **columns: Sized) -> None:
    for name, column in columns.items():
        if len(column) != length:
            raise BadFrame(f"column {name} has {len(column)} elements, {length} were due")


def encode_ack(ack: PumpAck) -> pump_pb2.PumpAck:
    return pump_pb2.PumpAck(
        position=ack.position,
        partitions=[answer[0] for answer in ack.answers],
        epochs=[answer[1] for answer in ack.answers],
        cursors=[answer[2] for answer in ack.answers],
        statuses=bytes(answer[3] for answer in ack.answers),
        dead_letters=ack.dead_letters,
        error=ack.error,
        dead=[
            pump_pb2.DeadChange(
                partition=row.partition,
                space=row.space,
                key=row.key,
                version=row.version,
                error=row.error[:DEAD_TEXT_MAX],
            )
            for row in ack.dead_rows[:DEAD_TOLD_MAX]
        ],
    )


def decode_ack(message: pump_pb2.PumpAck) -> PumpAck:
    """Raises BadFrame."""
    statuses: Sequence[int] = message.statuses
    _same(
        len(message.partitions),
        epochs=message.epochs,
        cursors=message.cursors,
        statuses=message.statuses,
    )
    try:
        answers = [Answer(status) for status in statuses]
    except ValueError as error:
        raise BadFrame(f"unknown status: {error}") from error
    rows = zip(message.partitions, message.epochs, message.cursors, answers, strict=True)
    dead = tuple(
        DeadRow(one.partition, one.space, one.key, one.version, one.error) for one in message.dead
    )
    return PumpAck(
        message.position, list(rows), message.dead_letters, message.error, dead_rows=dead
    )
