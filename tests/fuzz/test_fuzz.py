"""A bounded part of the fuzzing in every run; `python -m tests.fuzz` does the rest."""

from __future__ import annotations

import logging
import random
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tupelo.batch import GarbledAnswer
from tupelo.codec import decode_value
from tupelo.errors import InvalidArgument
from tupelo.pieces import decode_count, decode_page
from tupelo.schema import decode_schema
from tupelo.v1 import pump_pb2, replication_pb2
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.snapshot import SnapshotBuilder, SnapshotError
from tupelo_grid.messaging import pump_wire
from tupelo_grid.transport import replication_codec
from tupelo_grid.transport.rows_json import from_json
from tupelo_grid.transport.rows_scan import read_page_token
from tupelo_grid.transport.validate import key_fault, value_fault

from tests.fuzz.__main__ import main
from tests.fuzz.generate import message, mutated
from tests.fuzz.harness import Broken, Complaints, Report, attempt, fuzz, input_seed
from tests.fuzz.targets import TARGETS, targets_of
from tests.fuzz.wire import HINTS

INPUTS = 250


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    handler = Complaints()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize("name", TARGETS)
async def test_no_input_breaks(name: str, complaints: Complaints) -> None:
    (report,) = await fuzz([TARGETS[name]], INPUTS, 1, complaints)
    assert report.crashes == []
    assert report.slow == []
    assert report.inputs == INPUTS
    # Nearly right input gets through at times; else only the first check would be tried.
    assert report.taken > INPUTS / 100


# -- what hypothesis makes of bytes; it shortens what breaks

BYTES = st.binary(max_size=200)


def refused(decode: Callable[[Any], object], given: Any, *errors: type[Exception]) -> bool:
    """Whether it is refused with one of `errors`. Raises anything else."""
    try:
        decode(given)
    except errors:
        return True
    return False


@given(BYTES)
def test_frames_between_servers(data: bytes) -> None:
    for kind, decode, error in (
        (replication_pb2.ReplicationFrame, replication_codec.decode_frame, ValueError),
        (replication_pb2.ReplicationAck, replication_codec.decode_ack, ValueError),
        (pump_pb2.PumpFrame, pump_wire.decode_frame, pump_wire.BadFrame),
        (pump_pb2.PumpAck, pump_wire.decode_ack, pump_wire.BadFrame),
    ):
        parse: Any = kind.FromString
        read: Any = decode
        # What is no message is no frame; what is one may be.
        if not refused(parse, data, DecodeError):
            assert refused(read, parse(data), error) in (True, False)


def build(chunks: list[bytes]) -> Partition:
    builder = SnapshotBuilder(1, 0)
    for index, body in enumerate(chunks):
        builder.add(index, body, zlib.crc32(body))
    return builder.build()


@given(st.lists(BYTES, max_size=4))
def test_snapshots(chunks: list[bytes]) -> None:
    """Nothing random is one."""
    with pytest.raises(SnapshotError):
        build(chunks)


@given(BYTES)
def test_keys_and_values(data: bytes) -> None:
    key, value = key_fault(data), value_fault(data)
    assert key is None or key
    assert value is None or value
    if key is None:
        # What is a key is a value, and reads back.
        assert value is None
        decode_value(data)


@given(BYTES)
def test_answers_in_the_client(data: bytes) -> None:
    value = refused(decode_value, data, InvalidArgument)
    # Pages and counts are values.
    assert refused(decode_page, data, GarbledAnswer) or not value
    assert refused(decode_count, data, GarbledAnswer) or not value
    assert refused(decode_schema, data, msgspec.DecodeError) or data.strip().startswith(b"{")


@given(st.text(max_size=100))
def test_texts_of_row_calls(text: str) -> None:
    assert refused(lambda it: from_json(it, "key_json"), text, InvalidArgument) or text.strip()
    assert refused(lambda it: read_page_token(it, 16), text, InvalidArgument) or len(text) != 1


# -- the fuzzer itself


class Fragile:
    """Breaks at every third input, in one of three ways."""

    name = "fragile"
    fresh_every = 0

    def __init__(self) -> None:
        self._inputs = 0

    async def one(self, rng: random.Random) -> bool:
        self._inputs += 1
        if self._inputs % 9 == 3:
            raise KeyError(rng.random())
        if self._inputs % 9 == 6:
            raise Broken("no answer")
        if self._inputs % 9 == 0:
            logging.getLogger("tupelo_grid.x").error("it went wrong")
        return True

    def close(self) -> None:
        """Nothing to close."""


async def test_crashes_complaints_and_bad_answers_are_found(complaints: Complaints) -> None:
    (report,) = await fuzz([Fragile], 27, 1, complaints)
    texts = [text.strip().splitlines()[-1] for _, text in report.crashes]
    assert len(texts) == 9
    assert sum("KeyError" in text for text in texts) == 3
    assert sum("no answer" in text for text in texts) == 3
    assert sum("it went wrong" in text for text in texts) == 3


async def test_a_seed_is_an_input(complaints: Complaints) -> None:
    report = Report("fragile")
    target = Fragile()
    for _ in range(3):
        await attempt(target, input_seed(1, "fragile", 7), complaints, report)
    assert [seed for seed, _ in report.crashes] == ["1/fragile/7"]
    assert str(random.Random("1/fragile/7").random()) in report.crashes[0][1]


def test_messages_are_the_same_for_the_same_seed() -> None:
    made = [message(random.Random("s"), replication_pb2.ReplicationFrame, HINTS) for _ in range(2)]
    assert made[0] == made[1]
    assert mutated(random.Random(1), b"abc") == mutated(random.Random(1), b"abc")


def test_only_known_targets() -> None:
    assert [kind.name for kind in targets_of("row_rpcs,admin")] == ["row_rpcs", "admin"]
    with pytest.raises(ValueError, match="'everything'"):
        targets_of("everything")


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--inputs", "40", "--targets", "keys_and_values,pump_frames", "--json"]) == 0
    facts = msgspec.json.decode(capsys.readouterr().out.splitlines()[-1])
    assert (facts["inputs"], facts["crashes"]) == (40, 0)
    assert set(facts["targets"]) == {"keys_and_values", "pump_frames"}
