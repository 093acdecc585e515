"""The async client's calls against a fake grid on real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
import tupelo
from tupelo import ClientConfig, Grid, Token, Versioned
from tupelo.codec import encode_key
from tupelo.errors import (
    ApplicationError,
    ConnectionLost,
    InvalidArgument,
    TooLarge,
    UnknownCommand,
    UnknownSpace,
)
from tupelo.schema import FieldSchema, SpaceSchema, encode_schema
from tupelo.unit import Entry, ProcessingUnit

from tests.fake_grid import COPIES, FakeGrid, free_port, grids

unit = ProcessingUnit("ticketing")


class Seat(Entry, frozen=True):
    event: str
    number: int
    holder: str | None = None


@unit.error
class SeatTaken(ApplicationError):
    def __init__(self, event: str, number: int) -> None:
        super().__init__(f"seat {number} of {event} is taken", event=event, number=number)


seats = unit.space("seats", Seat, key=("event", "number"), route="event")


@unit.command(route="event")
def hold(event: str, number: int, customer: str = "ann") -> Seat:
    raise AssertionError("commands run in the grid")


@unit.command(route="event", read_only=True)
def seat_map(event: str) -> list[int]:
    raise AssertionError("commands run in the grid")


@pytest.fixture
async def fake() -> AsyncIterator[FakeGrid]:
    async for grid in grids():
        yield grid


@pytest.fixture
async def grid(fake: FakeGrid) -> AsyncIterator[Grid]:
    async with tupelo.connect(fake.seed) as connected:
        yield connected


async def test_put_get_and_what_they_return(grid: Grid) -> None:
    space = grid.space("default")
    first = await space.put("a", {"x": [1, None, b"z"]})
    assert first.token == Token(first.token.partition, 1, first.version)
    assert first.copies == COPIES
    assert await space.get("a") == {"x": [1, None, b"z"]}
    second = await space.put("a", 2)
    assert second.token > first.token
    assert await space.entry("a") == Versioned(2, second.version)
    assert await space.get("b") is None
    assert await space.entry("b") is None
    assert await space.contains("a")
    assert not await space.contains("b")


async def test_conditions_that_do_not_hold_return_none(grid: Grid) -> None:
    space = grid.space("default")
    assert await space.replace("a", 1) is None
    assert await space.delete("a") is None
    made = await space.put_if_absent("a", 1)
    assert made is not None
    assert await space.put_if_absent("a", 2) is None
    assert await space.compare_and_set("a", 3, version=made.version + 100) is None
    swapped = await space.compare_and_set("a", 3, version=made.version)
    assert swapped is not None
    assert await space.replace("a", 4) is not None
    assert await space.delete("a", version=swapped.version) is None
    assert await space.get("a") == 4
    assert await space.delete("a") is not None
    assert await space.get("a") is None


async def test_bulk_calls_group_by_owner_and_return_a_token_a_partition(
    fake: FakeGrid, grid: Grid
) -> None:
    space = grid.space("default")
    rows = {f"key-{number}": number for number in range(1000)}
    before = [unit.frames for unit in fake.units]
    written = await space.put_many(rows)
    assert [unit.frames - old for unit, old in zip(fake.units, before, strict=True)] == [1, 1, 1]
    assert written.entries == 1000
    assert written.copies == COPIES
    assert sorted(token.partition for token in written.tokens) == list(range(fake.partitions))
    assert await space.get_many([*rows, "absent"]) == rows
    assert await space.count() == 1000
    deleted = await space.delete_many(f"key-{number}" for number in range(0, 1000, 2))
    assert deleted.entries == 500
    assert await space.count() == 500
    assert await space.get_many(["key-0", "key-1"]) == {"key-1": 1}
    assert await space.put_many([]) == tupelo.WrittenMany((), 0, 0)


async def test_a_scan_gives_every_entry_once_and_can_be_resumed(grid: Grid) -> None:
    space = grid.space("default")
    rows = {("k", number): number for number in range(300)}
    await space.put_many(rows)
    scan = space.scan(page_size=7)
    found: dict[Any, Any] = {}
    async for item in scan:
        assert item.key not in found
        assert item.version > 0
        found[item.key] = item.value
        if len(found) == 100:
            break
    rest = space.scan(page_size=13, page_token=scan.page_token)
    while items := await rest.page():
        for item in items:
            assert item.key not in found
            found[item.key] = item.value
    assert found == rows
    assert rest.page_token == ""


async def test_a_typed_space_takes_and_gives_its_class(fake: FakeGrid, grid: Grid) -> None:
    fake.spaces["seats"] = encode_schema(seats.schema)
    space = grid.space(seats)
    seat = Seat("e1", 7, "ann")
    await space.put(seat, ttl_s=1.5)
    assert await space.get(("e1", 7)) == seat
    assert fake.ttls_ms["seats", encode_key(("e1", 7))] == 1500
    await space.put_many([Seat("e1", number) for number in range(5)])
    assert await space.get_many([("e1", 1), ["e1", 2], ("e2", 1)]) == {
        ("e1", 1): Seat("e1", 1),
        ("e1", 2): Seat("e1", 2),
    }
    assert [item.value.number async for item in space.scan()] == [0, 1, 2, 3, 4, 7]
    by_name = grid.space("seats")
    assert await by_name.get(("e1", 7)) == {"event": "e1", "number": 7, "holder": "ann"}
    await by_name.put({"event": "e9", "number": 1})
    assert await space.get(("e9", 1)) == Seat("e9", 1)


async def test_what_is_wrong_is_said_before_anything_is_sent(fake: FakeGrid, grid: Grid) -> None:
    fake.spaces["seats"] = encode_schema(seats.schema)
    typed, untyped = grid.space(seats), grid.space("default")
    frames = sum(unit.frames for unit in fake.units)
    with pytest.raises(InvalidArgument, match="give the entry alone"):
        await typed.put("key", Seat("e1", 1))  # type: ignore[call-overload]
    with pytest.raises(InvalidArgument, match="give a key and a value"):
        await untyped.put("key")
    with pytest.raises(InvalidArgument, match="2 parts"):
        await typed.get("e1")
    with pytest.raises(InvalidArgument, match="cannot be a key"):
        await untyped.get({"a": 1})
    with pytest.raises(InvalidArgument, match="cannot be stored"):
        await untyped.put("a", object())
    with pytest.raises(InvalidArgument, match="ttl_s is a number of seconds above 0"):
        await untyped.put("a", 1, ttl_s=0)
    with pytest.raises(InvalidArgument, match="a version is"):
        await untyped.compare_and_set("a", 1, version=0)
    with pytest.raises(InvalidArgument, match="pairs"):
        await untyped.put_many(["a", "b"])
    with pytest.raises(InvalidArgument, match="page_size"):
        untyped.scan(page_size=0)
    assert sum(unit.frames for unit in fake.units) == frames


async def test_an_unknown_space_is_told_by_the_grid_and_found_once_declared(
    fake: FakeGrid, grid: Grid
) -> None:
    space = grid.space("later")
    with pytest.raises(UnknownSpace):
        await space.put("a", 1)
    schema = SpaceSchema("later", key=("id",), fields=(FieldSchema("id", "int"),))
    fake.spaces["later"] = encode_schema(schema)
    await space.put({"id": 3})
    assert await space.get(3) == {"id": 3}


async def test_create_space_and_status(fake: FakeGrid, grid: Grid) -> None:
    carts = await grid.create_space("carts", ttl_s=60, persist=False)
    await carts.put("ann", {"items": 3})
    schema = msgspec.json.decode(fake.spaces["carts"])
    assert (schema["ttl_ms"], schema["persist"]) == (60_000, False)
    assert (await grid.status()).version == "fake"


async def test_a_command_is_typed_from_end_to_end(fake: FakeGrid, grid: Grid) -> None:
    def run_hold(arguments: dict[str, Any]) -> Any:
        if arguments["number"] == 13:
            return ("SeatTaken", "seat 13 is taken", {"event": "e1", "number": 13})
        return {
            "event": arguments["event"],
            "number": arguments["number"],
            "holder": arguments["customer"],
        }

    fake.commands["ticketing.hold"] = run_hold
    fake.commands["ticketing.seat_map"] = lambda arguments: [1, 2]
    assert await grid.call(hold, event="e1", number=7) == Seat("e1", 7, "ann")
    assert await grid.call(hold, "e1", 8, customer="bob") == Seat("e1", 8, "bob")
    assert await grid.call(seat_map, event="e1") == [1, 2]
    with pytest.raises(SeatTaken) as taken:
        await grid.call(hold, event="e1", number=13)
    assert (taken.value.event, taken.value.number) == ("e1", 13)
    with pytest.raises(InvalidArgument, match="missing argument"):
        await grid.call(hold, event="e1")  # type: ignore[call-arg]
    reads = [batch for unit in fake.units for batch in unit.batches if 10 in batch.kinds]
    assert [list(batch.op_numbers) for batch in reads] == [[]]


async def test_a_command_by_name_routes_by_what_the_units_publish(
    fake: FakeGrid, grid: Grid
) -> None:
    fake.commands["ticketing.hold"] = lambda arguments: arguments["number"]
    with pytest.raises(UnknownCommand, match="check the name"):
        await grid.call("ticketing.hold", event="e1", number=7)
    assert await grid.call("ticketing.hold", route="e1", event="e1", number=7) == 7
    fake.spaces["command:ticketing.hold"] = b'{"route": ["event"], "read_only": false}'
    assert await grid.call("ticketing.hold", event="e1", number=8) == 8
    with pytest.raises(InvalidArgument, match="event is not among the arguments"):
        await grid.call("ticketing.hold", number=8)
    fake.commands["ticketing.hold"] = lambda arguments: ("Sold", "gone", {"at": 1})
    with pytest.raises(ApplicationError, match="gone") as sold:
        await grid.call("ticketing.hold", event="e1", number=8)
    assert (sold.value.error_code, sold.value.at) == ("Sold", 1)


async def test_connect_can_be_awaited_and_entered_and_closed_twice(fake: FakeGrid) -> None:
    async with await tupelo.connect(fake.seed) as grid:
        await grid.space("default").put("a", 1)
    async with tupelo.connect(f"127.0.0.1:{free_port()}", fake.seed) as grid:
        assert await grid.space("default").get("a") == 1
    await grid.close()
    with pytest.raises(ConnectionLost, match="closed"):
        await grid.space("default").get("a")


async def test_connecting_to_nothing_says_so_in_time() -> None:
    with pytest.raises(ConnectionLost, match=r"no grid answered.*is it running"):
        await tupelo.connect(f"127.0.0.1:{free_port()}", connect_timeout_s=0.2)


async def test_a_value_above_the_message_limit_harms_nobody_else(fake: FakeGrid) -> None:
    config = ClientConfig(message_bytes_max=64 * 1024, frame_bytes_max=32 * 1024)
    async with tupelo.connect(fake.seed, config=config) as grid:
        space = grid.space("default")
        with pytest.raises(TooLarge, match="message_bytes_max"):
            await space.put("big", "x" * 100_000)
        with pytest.raises(TooLarge, match="message_bytes_max"):
            await space.put_many({"small": 1, "big": "x" * 100_000})
        await space.put("small", "x" * 1000)
        assert await space.get("small") == "x" * 1000


@dataclass
class Limits:
    operations: int
    bytes: int


@pytest.mark.parametrize("limits", [Limits(10, 1 << 20), Limits(4096, 2_000)])
async def test_frames_keep_their_limits(fake: FakeGrid, limits: Limits) -> None:
    config = ClientConfig(frame_ops_max=limits.operations, frame_bytes_max=limits.bytes)
    async with tupelo.connect(fake.seed, config=config) as grid:
        space = grid.space("default")
        rows = {f"key-{number}": "x" * 100 for number in range(200)}
        await space.put_many(rows)
        assert await space.get_many(rows) == rows
    batches = [batch for unit in fake.units for batch in unit.batches]
    assert len(batches) >= 12
    for batch in batches:
        size_bytes = sum(map(len, [*batch.bulk.keys, *batch.bulk.values]))
        assert sum(batch.bulk.counts) <= limits.operations
        assert size_bytes <= limits.bytes
