"""Frames survive the wire; damaged ones are refused, whatever is wrong with them."""

from __future__ import annotations

import msgspec
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tupelo.v1 import replication_pb2 as pb
from tupelo_grid.core.frames import Ack, CatchUp, Frame, Position, SnapshotChunk
from tupelo_grid.core.records import Puts, Record, record_of
from tupelo_grid.transport.record_columns import Appends, from_columns, to_columns
from tupelo_grid.transport.replication import LENGTH_BYTES, FrameProtocol
from tupelo_grid.transport.replication_codec import (
    AckReader,
    AckWriter,
    BadFrame,
    FrameReader,
    FrameWriter,
    decode_ack,
    decode_frame,
    encode_ack,
    encode_frame,
)

GRID = b"0123456789abcdef"
u64 = st.integers(0, 2**64 - 1)
small = st.integers(0, 1000)
names = st.text("abc", min_size=1, max_size=3)
mutations = st.tuples(names, st.binary(max_size=5), st.none() | st.binary(max_size=5), small)
results = st.none() | st.tuples(st.integers(0, 255), small, st.binary(max_size=5))
bulk_puts = st.builds(
    lambda space, rows, deadline_ms: Puts(space, tuple(rows), tuple(rows.values()), deadline_ms),
    names,
    st.dictionaries(st.binary(max_size=5), st.binary(max_size=5), min_size=2, max_size=9),
    st.just(0) | small,
)
records: st.SearchStrategy[Record] = st.builds(
    record_of,
    *(st.integers(1, 6), u64, u64, u64, results),
    st.lists(mutations, max_size=3).map(tuple) | bulk_puts,
)
pairs = st.lists(st.tuples(small, small), max_size=3)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    batch = draw(st.lists(records, max_size=5))
    columns = [draw(st.lists(small, min_size=len(batch), max_size=len(batch))) for _ in range(3)]
    return Frame(
        draw(names),
        draw(names),
        draw(u64),
        draw(u64),
        *columns,
        records=batch,
        catch_ups=draw(
            st.lists(
                st.builds(
                    CatchUp, small, small, small, small, small, pairs, st.lists(records, max_size=3)
                ),
                max_size=2,
            )
        ),
        snapshots=draw(
            st.lists(
                st.builds(
                    SnapshotChunk, small, small, u64, small, st.booleans(), small, st.binary()
                ),
                max_size=2,
            )
        ),
        probes=draw(st.lists(st.tuples(small, small, small), max_size=3)),
        confirms=draw(pairs),
        commits=draw(st.lists(st.tuples(small, small, small, small), max_size=3)),
    )


@given(frames())
def test_a_frame_comes_back_as_it_was(frame: Frame) -> None:
    wire = encode_frame(frame, GRID).SerializeToString()
    assert decode_frame(pb.ReplicationFrame.FromString(wire)) == frame


positions = st.builds(
    Position, small, small, st.booleans(), small, small, pairs, st.booleans(), u64, small
)


acks = st.builds(
    Ack,
    *(names, names, u64, u64, st.booleans(), st.lists(positions, max_size=3)),
    st.just(()) | st.lists(small, min_size=1, max_size=3),
    names | st.just(""),
)


@given(acks)
def test_an_acknowledgement_comes_back_as_it_was(ack: Ack) -> None:
    wire = encode_ack(ack, GRID).SerializeToString()
    assert decode_ack(pb.ReplicationAck.FromString(wire)) == ack


@settings(max_examples=300)
@given(frames(), st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_frame_is_refused_or_still_a_frame(frame: Frame, place: int, byte: int) -> None:
    wire = bytearray(encode_frame(frame, GRID).SerializeToString())
    wire[place % len(wire)] = byte
    try:
        decoded = decode_frame(pb.ReplicationFrame.FromString(bytes(wire)))
    except (BadFrame, DecodeError, UnicodeDecodeError):
        return
    assert len(decoded.records) == len(decoded.partitions)


def test_bulk_puts_stay_columns_on_their_way() -> None:
    many = Puts("s", tuple(b"k%d" % n for n in range(9)), tuple(b"v%d" % n for n in range(9)), 0)
    one: Record = (1, 7, 1, 0, None, "s", b"k", b"v", 0)
    batch: list[Record] = [(1, 7, 0, 0, None, many), one, (1, 7, 2, 0, None, ())]
    found = from_columns(to_columns(batch))
    assert found == batch
    assert [type(record[5]) for record in found] == [Puts, str, tuple]


def test_columns_that_do_not_fit_are_refused() -> None:
    frame = Frame("a", "b", 1, 1, [1], [1], [1], [(1, 0, 0, 0, None, (("s", b"k", b"v", 0),))])
    record = frame.records[0]
    columns = to_columns([record, record])
    for wrong in (
        replace(columns, op_numbers=[1]),
        replace(columns, clients=[(0, 0, 3)]),
        replace(columns, keys=[b"k"]),
        replace(columns, space_index=[0, 9]),
        replace(columns, counts=[1, 2]),
        replace(columns, kinds=b"\1\1\1"),
        replace(columns, spaces=[]),
        replace(columns, deadlines_ms=[1]),
        replace(columns, results=[None]),
        replace(columns, counts=[1, 1], values=[b"v"]),
        replace(columns, counts=[1, 1], spaces=[]),
        replace(columns, op_numbers=[1, -1]),
    ):
        message = encode_frame(frame, GRID)
        message.appends = msgspec.msgpack.encode(Appends([1, 1], [1], [1, 2], wrong))
        with pytest.raises(BadFrame):
            decode_frame(message)
    for partitions, epochs in (([1], [1]), ([1, 1], [1, 1, 1])):
        message = encode_frame(frame, GRID)
        message.appends = msgspec.msgpack.encode(Appends(partitions, epochs, [1, 2], columns))
        with pytest.raises(BadFrame, match="unequal"):
            decode_frame(message)


class FakeTransport:
    aborted = False

    def set_write_buffer_limits(self, high: int) -> None:
        self.high = high

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


def connect(frame_bytes_max: int = 100) -> tuple[FrameProtocol, FakeTransport, list[bytes]]:
    received: list[bytes] = []
    protocol = FrameProtocol(frame_bytes_max, received.append)
    transport = FakeTransport()
    protocol.connection_made(transport)  # type: ignore[arg-type]
    return protocol, transport, received


@given(st.lists(st.binary(max_size=60), max_size=6), st.lists(st.integers(1, 30), min_size=1))
def test_frames_are_cut_out_of_any_pieces(bodies: list[bytes], sizes: list[int]) -> None:
    protocol, transport, received = connect()
    stream = b"".join(len(body).to_bytes(LENGTH_BYTES, "big") + body for body in bodies)
    start = turn = 0
    while start < len(stream):
        size = sizes[turn % len(sizes)]
        protocol.data_received(stream[start : start + size])
        start, turn = start + size, turn + 1
    assert received == bodies
    assert not transport.aborted


def test_a_frame_beyond_the_limit_closes_the_connection() -> None:
    protocol, transport, received = connect(frame_bytes_max=10)
    protocol.data_received((11).to_bytes(LENGTH_BYTES, "big"))
    assert transport.aborted
    assert received == []


STREAMS = [("a", "b", 1), ("a", "b", 2), ("a", "c", 2)]


@given(st.lists(st.tuples(st.sampled_from(STREAMS), frames(), st.booleans()), max_size=8))
def test_frames_of_a_connection_come_back_as_they_were(
    sent: list[tuple[tuple[str, str, int], Frame, bool]],
) -> None:
    """Also those of which nearly everything was left out."""
    writer, reader = FrameWriter(GRID), FrameReader(GRID)
    for (sender, receiver, stream_id), drawn, bare in sent:
        frame = Frame(sender, receiver, stream_id, drawn.position)
        names = ("partitions", "epochs", "sequences", "records")
        for name in names if bare else Frame.__slots__[4:]:
            setattr(frame, name, getattr(drawn, name))
        assert reader.read(writer.write(frame)) == frame


@given(st.lists(st.tuples(st.sampled_from(STREAMS), acks, st.booleans()), max_size=8))
def test_acknowledgements_of_a_connection_come_back_as_they_were(
    sent: list[tuple[tuple[str, str, int], Ack, bool]],
) -> None:
    writer, reader = AckWriter(GRID), AckReader(GRID)
    for (sender, receiver, stream_id), drawn, bare in sent:
        ack = Ack(sender, receiver, stream_id, drawn.position)
        if not bare:
            ack.reset, ack.positions = drawn.reset, drawn.positions
            ack.paused, ack.trouble = drawn.paused, drawn.trouble
        assert reader.read(writer.write(ack)) == ack


def test_what_identifies_a_stream_is_said_once() -> None:
    record: Record = (1, 7, 1, 0, None, "s", b"k", b"v", 0)
    columns = ([1], [1], [1], [record])
    writer, acks_writer = FrameWriter(GRID), AckWriter(GRID)
    sizes = [len(writer.write(Frame("a#1", "b#2", 1, n, *columns))) for n in (1, 2, 3)]
    assert sizes[0] > sizes[1] + len(GRID)
    assert sizes[1] == sizes[2]
    told = [acks_writer.write(Ack("b#2", "a#1", 1, n)) for n in (1, 2)]
    assert GRID in told[0]
    assert told[1] == pb.ReplicationAck(short=True, position=2).SerializeToString()


def test_a_short_form_that_follows_nothing_is_refused() -> None:
    with pytest.raises(BadFrame, match="follows none"):
        FrameReader(GRID).read(pb.ReplicationFrame(short=True, position=1).SerializeToString())
    with pytest.raises(BadFrame, match="follows none"):
        AckReader(GRID).read(pb.ReplicationAck(short=True, position=1).SerializeToString())
    reader = FrameReader(GRID)
    reader.read(FrameWriter(GRID).write(Frame("a", "b", 1, 1)))
    with pytest.raises(BadFrame):
        reader.read(pb.ReplicationFrame(short=True, position=2, appends=b"x").SerializeToString())


def test_what_belongs_to_another_grid_is_refused() -> None:
    with pytest.raises(BadFrame, match="another grid"):
        FrameReader(GRID).read(FrameWriter(b"x" * 16).write(Frame("a", "b", 1, 1)))
    with pytest.raises(BadFrame, match="another grid"):
        AckReader(GRID).read(AckWriter(b"x" * 16).write(Ack("a", "b", 1, 1)))
