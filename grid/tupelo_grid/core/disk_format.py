"""What a unit's disk journal is made of, as bytes, and back. No I/O.

A journal is one series of blocks, numbered without gaps, in files that each begin with a block:

    block    header (magic, length, number, durable, crc) and payload
    payload  MessagePack list of items: Records, Chunk or Drop

`durable` is the number of the newest block that was safely on disk when this one was made. So a
block that cannot be read is known for a torn tail, which nobody was told of, or for damage: it is
damage when a later block says that it was durable.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from tupelo_grid.core.journal import Run
from tupelo_grid.core.records import StoredRecord

MAGIC: Final = b"TPJ1"
HEADER: Final = struct.Struct("<4sIQQI")
_SUMMED: Final = struct.Struct("<IQQ")
# A payload is closed when it holds so much; one item may exceed it.
BLOCK_BYTES: Final = 1024 * 1024
# Records of one item at most.
PIECE_RECORDS: Final = 32
# What no block can exceed: a length beyond it is damage.
BLOCK_BYTES_MAX: Final = 1 << 30


class Records(msgspec.Struct, frozen=True, array_like=True, tag=0, gc=False):
    """Records that follow `previous` of `previous_epoch`; `runs`: their epochs.

    `commit` and `persisted`: as the replica knew them when this was made.
    """

    partition: int
    previous: int
    previous_epoch: int
    runs: list[Run]
    commit: int
    persisted: int
    records: list[StoredRecord]


class Chunk(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """A piece of a snapshot (core.snapshot), which replaces the replica when its `last` is read."""

    partition: int
    snapshot_id: int
    index: int
    last: bool
    body: bytes


class Drop(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """The replica is not this unit's any more."""

    partition: int


Item = Records | Chunk | Drop

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Item])


class Block(NamedTuple):
    """A block that was read whole. `end`: where the next one begins."""

    number: int
    durable: int
    payload: memoryview
    end: int


class Undecodable(ValueError):
    """A payload whose checksum is right and which makes no sense."""


def encode_items(items: list[Item]) -> bytes:
    return _encoder.encode(items)


def join_items(items: list[bytes]) -> bytes:
    """A payload of items that are encoded already."""
    return b"".join((b"\xdd", len(items).to_bytes(4, "big"), *items))


def encode_item(item: Item) -> bytes:
    return _encoder.encode(item)


def decode_items(payload: memoryview) -> list[Item]:
    """Raises Undecodable."""
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Undecodable(str(error)) from error


def seal(payload: bytes, number: int, durable: int) -> bytes:
    """A block of its payload."""
    crc = zlib.crc32(payload, zlib.crc32(_SUMMED.pack(len(payload), number, durable)))
    return HEADER.pack(MAGIC, len(payload), number, durable, crc) + payload


def open_block(data: memoryview, start: int) -> Block | None:
    """The block at `start`; None when there is no whole one."""
    if start + HEADER.size > len(data):
        return None
    magic, length, number, durable, crc = HEADER.unpack_from(data, start)
    begin = start + HEADER.size
    if magic != MAGIC or length > BLOCK_BYTES_MAX or begin + length > len(data):
        return None
    payload = data[begin : begin + length]
    if zlib.crc32(payload, zlib.crc32(_SUMMED.pack(length, number, durable))) != crc:
        return None
    return Block(number, durable, payload, begin + length)


def later_blocks(data: bytes, start: int) -> Iterator[Block]:
    """Whole blocks that begin after `start`, wherever they are."""
    view = memoryview(data)
    found = data.find(MAGIC, start + 1)
    while found >= 0:
        block = open_block(view, found)
        if block is not None:
            yield block
        found = data.find(MAGIC, found + 1 if block is None else block.end)


def pieces(records: Records) -> Iterator[Records]:
    """In items of PIECE_RECORDS: by number, as to ask each record for its size takes longer than to
    encode it. A record is at most a message, so a piece fits into a block."""
    count = len(records.records)
    for begin in range(0, count, PIECE_RECORDS):
        yield _piece(records, begin, min(begin + PIECE_RECORDS, count))


def _piece(whole: Records, begin: int, end: int) -> Records:
    if begin == 0 and end == len(whole.records):
        return whole
    first, last = whole.previous + begin + 1, whole.previous + end
    epochs = [run for run in whole.runs if run[0] <= last]
    before = [epoch for start, epoch in whole.runs if start <= first - 1]
    return Records(
        whole.partition,
        first - 1,
        before[-1] if begin else whole.previous_epoch,
        epochs,
        min(whole.commit, last),
        min(whole.persisted, last),
        whole.records[begin:end],
    )
