"""The SQL store on real databases: fences, transactions, dead letters, changing schemas."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from tupelo.schema import FieldSchema, SpaceSchema
from tupelo_grid.core.pump_frames import Change, PartitionBatch
from tupelo_grid.store import writing
from tupelo_grid.store.backend import Move
from tupelo_grid.store.port import Row, Status, StoreAway, StoreUnusable
from tupelo_grid.store.sql import SqlStore

from tests.integration.store_places import Place, store_at

encode = msgspec.msgpack.encode

DOCS = SpaceSchema("docs")
SEATS = SpaceSchema(
    "seats",
    key=("event", "number"),
    route=(0,),
    fields=(
        FieldSchema("event", "str"),
        FieldSchema("number", "int"),
        FieldSchema("holder", "str", optional=True),
    ),
)
SCHEMAS = {schema.name: schema for schema in (DOCS, SEATS)}


@pytest.fixture
async def store(place: Place) -> AsyncIterator[SqlStore]:
    made = store_at(place)
    await made.open()
    yield made
    await made.close()


def put(key: str, value: Any, version: int, deadline: int = 0) -> Change:
    return ("docs", encode(key), encode(value), version, deadline)


def seat(number: int, holder: Any, version: int, **more: Any) -> Change:
    entry = {"event": "e", "number": number, "holder": holder, **more}
    return ("seats", encode(["e", number]), encode(entry), version, 0)


def batch(first: int, last: int, *changes: Change, epoch: int = 1) -> PartitionBatch:
    return PartitionBatch(0, epoch, first, last, list(changes))


async def rows(store: SqlStore, space: str) -> dict[bytes, Row]:
    found = [row async for row in store.read_rows(space)]
    assert len({row[0] for row in found}) == len(found)
    return {row[0]: row for row in found}


async def statuses(store: SqlStore, *batches: PartitionBatch) -> list[tuple[Status, int]]:
    return [(out.status, out.cursor) for out in await store.apply(batches, SCHEMAS)]


async def test_claims_rise_and_never_fall(store: SqlStore) -> None:
    out = await store.claim({0: 3, 1: 1})
    assert [(o.status, o.epoch, o.cursor) for o in out.values()] == [
        (Status.CLAIMED, 3, 0),
        (Status.CLAIMED, 1, 0),
    ]
    await store.apply([batch(0, 5, epoch=3)], SCHEMAS)
    again = (await store.claim({0: 3}))[0]
    assert (again.status, again.cursor) == (Status.CLAIMED, 5)
    older = (await store.claim({0: 2}))[0]
    assert (older.status, older.epoch, older.cursor) == (Status.FENCED, 3, 5)
    assert await store.cursors() == {0: (3, 5), 1: (1, 0)}


async def test_rows_and_cursor_go_together_and_only_once(store: SqlStore) -> None:
    await store.claim({0: 1})
    first = batch(0, 3, put("a", 1, 1), put("b", 2, 2, deadline=99))
    assert await statuses(store, first) == [(Status.APPLIED, 3)]
    assert await statuses(store, first) == [(Status.MOVED, 3)]
    gone = batch(3, 4, ("docs", encode("a"), None, 4, 0))
    assert await statuses(store, gone) == [(Status.APPLIED, 4)]
    # What was deleted stays so, whatever comes again, late or out of order.
    assert await statuses(store, first, gone) == [(Status.MOVED, 4), (Status.MOVED, 4)]
    key = encode("b")
    assert await rows(store, "docs") == {key: (key, encode(2), 2, 99)}
    assert await store.counts() == {"docs": 1}


async def test_an_old_epoch_is_fenced_and_an_unclaimed_one_told_so(store: SqlStore) -> None:
    await store.claim({0: 1})
    await store.claim({0: 2})
    assert await statuses(store, batch(0, 1, put("a", 1, 1))) == [(Status.FENCED, 0)]
    assert await statuses(store, batch(0, 1, epoch=3)) == [(Status.UNCLAIMED, 0)]
    other = PartitionBatch(9, 1, 0, 1, [])
    assert await statuses(store, other) == [(Status.UNCLAIMED, 0)]
    assert await store.counts() == {"docs": 0}


async def test_a_fenced_partition_does_not_hold_up_the_others(store: SqlStore) -> None:
    await store.claim({0: 2, 1: 1})
    mine = PartitionBatch(1, 1, 0, 1, [put("b", 1, 1)])
    assert await statuses(store, batch(0, 1, put("a", 1, 1)), mine) == [
        (Status.FENCED, 0),
        (Status.APPLIED, 1),
    ]
    assert list(await rows(store, "docs")) == [encode("b")]


async def test_the_same_partition_twice_in_one_transaction(store: SqlStore) -> None:
    await store.claim({0: 1})
    out = await statuses(
        store,
        batch(0, 2, put("a", 1, 1), put("b", 1, 2)),
        batch(0, 3, put("x", 1, 3)),
        batch(2, 4, put("a", 2, 3), ("docs", encode("b"), None, 4, 0)),
    )
    assert out == [(Status.APPLIED, 2), (Status.MOVED, 2), (Status.APPLIED, 4)]
    key = encode("a")
    assert await rows(store, "docs") == {key: (key, encode(2), 3, 0)}


async def test_versions_guard_the_order_within_a_batch(store: SqlStore) -> None:
    await store.claim({0: 1})
    key = encode("a")
    gone: Change = ("docs", key, None, 2, 0)
    await statuses(store, batch(0, 3, put("a", 1, 1), gone, put("a", 3, 3)))
    assert (await rows(store, "docs"))[key][2] == 3
    await statuses(store, batch(3, 5, put("a", 4, 4), ("docs", key, None, 5, 0)))
    assert await rows(store, "docs") == {}


async def test_a_crash_between_cursor_and_rows_leaves_nothing(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.claim({0: 1})
    with monkeypatch.context() as patch:

        def crash(*_: object) -> None:
            raise RuntimeError("killed half way")

        patch.setattr(writing._Rows, "_run", crash)
        with pytest.raises(RuntimeError, match="half way"):
            await store.apply([batch(0, 2, put("a", 1, 1), seat(1, None, 2))], SCHEMAS)
    assert (await store.cursors())[0] == (1, 0)
    assert await store.counts() == {"docs": 0, "seats": 0}
    assert await statuses(store, batch(0, 2, put("a", 1, 1), seat(1, None, 2))) == [
        (Status.APPLIED, 2)
    ]
    assert await store.counts() == {"docs": 1, "seats": 1}


async def test_a_crash_after_the_rows_leaves_nothing(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.claim({0: 1})
    await statuses(store, batch(0, 1, put("a", 1, 1)))
    with monkeypatch.context() as patch:

        def crash(*_: object) -> None:
            raise OSError("disk on fire")

        patch.setattr(writing._Rows, "_supersede", crash)
        with pytest.raises(StoreAway, match="disk on fire"):
            await store.apply([batch(1, 2, put("a", 2, 2))], SCHEMAS)
    assert (await store.cursors())[0] == (1, 1)
    assert (await rows(store, "docs"))[encode("a")][2] == 1


async def test_rows_that_do_not_fit_are_put_aside_and_the_rest_goes_on(store: SqlStore) -> None:
    await store.claim({0: 1})
    [out] = await store.apply(
        [
            batch(
                0,
                9,
                *(seat(n, "x", n) for n in range(1, 6)),
                seat(2**63, "x", 6),
                ("seats", encode(["e", None]), encode({}), 7, 0),
                ("seats", encode(["e", 8]), b"\xc1", 8, 44),
                ("seats", encode(["e", None]), None, 9, 0),
            )
        ],
        SCHEMAS,
    )
    assert (out.status, out.cursor, out.dead_letters) == (Status.APPLIED, 9, 3)
    assert await store.counts() == {"seats": 5}
    letters = await store.dead_letters()
    assert await store.dead_letter_count() == 2
    by_version = {letter.version: letter for letter in letters}
    assert "does not fit into 64 bits" in by_version[6].error
    assert "not MessagePack" in by_version[8].error
    assert (by_version[8].payload, by_version[8].deadline_ms) == (b"\xc1", 44)
    # The removal of the key that could never be stored is done, and outdates its dead letter.
    assert by_version[7].superseded == 9
    assert by_version[6].superseded == 0


async def test_a_row_that_the_database_refuses_is_found_by_halving(
    store: SqlStore, place: Place
) -> None:
    await store.claim({0: 1})
    await statuses(store, batch(0, 1, seat(1, "first", 1)))
    place.refuse("seats", "holder", "poison", "no poison here")
    changes = [seat(n, "poison" if n in (17, 18, 90) else "fine", n + 1) for n in range(2, 120)]
    [out] = await store.apply([batch(1, 200, *changes)], SCHEMAS)
    assert (out.status, out.dead_letters) == (Status.APPLIED, 3)
    assert len(await rows(store, "seats")) == 119 - 3
    letters = await store.dead_letters()
    assert sorted(letter.version for letter in letters) == [18, 19, 91]
    assert {letter.error for letter in letters} == {"no poison here"}
    place.relent("seats")
    await statuses(store, batch(200, 300, seat(17, "better", 250)))
    assert {letter.version: letter.superseded for letter in await store.dead_letters()} == {
        18: 250,
        19: 0,
        91: 0,
    }
    assert [letter.version for letter in await store.dead_letters(limit=1, offset=1)] == [19]


async def test_a_typed_space_is_a_table_people_can_query(store: SqlStore, place: Place) -> None:
    await store.claim({0: 1})
    await statuses(store, batch(0, 3, seat(7, "ann", 1), seat(8, None, 2), put("k", {"a": 1}, 3)))
    assert place.sql("SELECT number, holder, tupelo_version FROM seats ORDER BY number") == [
        (7, "ann", 1),
        (8, None, 2),
    ]
    [(key, value)] = place.sql("SELECT key_text, value_json FROM docs")
    assert (key, json.loads(value)) == ('"k"', {"a": 1})
    assert place.primary_key("seats") == ["event", "number"]


async def test_a_schema_may_gain_and_lose_fields_and_old_rows_stay_exact(
    store: SqlStore, place: Place
) -> None:
    await store.claim({0: 1})
    old = seat(1, "ann", 1)
    await store.apply([batch(0, 1, old)], SCHEMAS)
    wider = SpaceSchema(
        "seats", SEATS.key, fields=(*SEATS.fields[:2], FieldSchema("price", "decimal"))
    )
    entry = {"event": "e", "number": 2, "price": "9.50"}
    new: Change = ("seats", encode(["e", 2]), encode(entry), 2, 0)
    await store.apply([batch(1, 2, new)], {"seats": wider})
    found = place.sql("SELECT number, price FROM seats ORDER BY number")
    assert [(number, price and str(price)) for number, price in found] == [(1, None), (2, "9.50")]
    await store.apply([batch(2, 3, seat(3, "bob", 3))], SCHEMAS)
    there = await rows(store, "seats")
    assert [there[change[1]][1] for change in (old, new)] == [old[2], new[2]]
    assert len(there) == 3
    assert place.sql("SELECT number FROM tupelo_spaces ORDER BY number") == [(1,), (2,)]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (SpaceSchema("seats", ("number",), fields=SEATS.fields), "has the key"),
        (SpaceSchema("seats"), "has the key"),
        (
            SpaceSchema(
                "seats", SEATS.key, fields=(*SEATS.fields[:2], FieldSchema("holder", "int"))
            ),
            "'holder' is str",
        ),
    ],
)
async def test_a_schema_that_does_not_fit_its_table_holds_up_nobody_else(
    store: SqlStore, changed: SpaceSchema, words: str
) -> None:
    await store.claim({0: 1})
    await store.apply([batch(0, 1, seat(1, "ann", 1))], SCHEMAS)
    schemas = {"seats": changed, "docs": DOCS}
    [out] = await store.apply([batch(1, 3, seat(2, "bob", 2), put("a", 1, 3))], schemas)
    assert (out.status, out.dead_letters) == (Status.APPLIED, 1)
    [letter] = await store.dead_letters()
    assert words in letter.error
    assert await store.counts() == {"docs": 1, "seats": 1}


async def test_tables_of_others_are_left_alone(store: SqlStore, place: Place) -> None:
    place.sql("CREATE TABLE docs (mine TEXT)")
    await store.claim({0: 1})
    [out] = await store.apply([batch(0, 1, put("a", 1, 1))], SCHEMAS)
    assert out.dead_letters == 1
    assert "not tupelo's" in (await store.dead_letters())[0].error


async def test_a_store_belongs_to_one_grid(store: SqlStore, place: Place) -> None:
    other = store_at(place, "bb" * 16)
    with pytest.raises(StoreUnusable, match=f"belongs to grid {'aa' * 16}"):
        await other.open()
    await other.close()
    tool = store_at(place, None)
    assert await tool.counts() == {}
    await tool.close()


async def test_everything_is_there_after_a_restart(store: SqlStore, place: Place) -> None:
    await store.claim({0: 4})
    await statuses(store, batch(0, 2, put("a", 1, 1), seat(1, "x", 2), epoch=4))
    await store.close()
    again = store_at(place)
    assert await again.cursors() == {0: (4, 2)}
    assert await again.counts() == {"docs": 1, "seats": 1}
    assert await statuses(again, batch(2, 3, put("a", 2, 3), epoch=4)) == [(Status.APPLIED, 3)]
    await again.close()


async def test_reading_sees_one_moment_while_writing_goes_on(store: SqlStore) -> None:
    await store.claim({0: 1})
    many = [put(f"k{n}", n, n) for n in range(1, 2501)]
    await statuses(store, batch(0, 2500, *many))
    seen = 0
    async for _ in store.read_rows("docs"):
        if seen == 0:
            await statuses(store, batch(2500, 2501, put("late", 1, 2501)))
        seen += 1
    assert seen == 2500
    assert (await store.counts())["docs"] == 2501
    assert await rows(store, "never stored") == {}


async def test_all_forms_of_a_space_are_read_as_of_one_moment(store: SqlStore) -> None:
    await store.claim({0: 1})
    wider = SpaceSchema("seats", SEATS.key, fields=(*SEATS.fields, FieldSchema("note", "str")))
    await statuses(store, batch(0, 1500, *(seat(n, "old", n) for n in range(1, 1501))))
    new = seat(5000, "new", 1501, note="x")
    await store.apply([batch(1500, 1501, new)], {"seats": wider})
    seen = []
    async for page in store.read_pages("seats"):
        if not seen:
            gone: Change = ("seats", new[1], None, 1502, 0)
            await store.apply([batch(1501, 1502, gone)], {"seats": wider})
        seen += page
    assert len(seen) == 1501
    assert new[1] in {row[0] for row in seen}
    assert (await store.counts())["seats"] == 1500


async def test_a_cursor_that_is_not_as_it_was_does_not_move(store: SqlStore) -> None:
    await store.claim({0: 3, 1: 3})
    backend = store._backend
    for moves, moved in (
        ([(0, 3, 0, 5), (1, 3, 0, 6)], 2),
        ([(0, 3, 0, 7)], 0),
        ([(0, 2, 5, 7)], 0),
        ([(9, 3, 0, 7)], 0),
    ):

        def work(connection: sa.Connection, moves: list[Move] = moves) -> int:
            connection.execute(sa.select(sa.literal(1)))  # which begins the transaction
            return backend.move_cursors(connection, moves)

        assert await backend.write(work) == moved
    assert await store.cursors() == {0: (3, 5), 1: (3, 6)}
