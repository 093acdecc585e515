"""What the store does with what it cannot store, and with what comes late; on every database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from tupelo.schema import FieldSchema, SpaceSchema
from tupelo_grid.core.pump_frames import Change, PartitionBatch
from tupelo_grid.store.port import LetterFilter, Outcome, Status, StoreAway
from tupelo_grid.store.registry import SpaceTable
from tupelo_grid.store.sql import SqlStore

from tests.integration.store_places import Place, store_at

encode = msgspec.msgpack.encode

SEATS = SpaceSchema(
    "seats", key=("number",), fields=(FieldSchema("number", "int"), FieldSchema("holder", "str"))
)
SCHEMAS = {"seats": SEATS}


@pytest.fixture
async def store(place: Place) -> AsyncIterator[SqlStore]:
    made = store_at(place)
    await made.claim({0: 1, 1: 1})
    yield made
    await made.close()


def seat(number: int, holder: str, version: int) -> Change:
    return ("seats", encode(number), encode({"number": number, "holder": holder}), version, 0)


def gone(number: int, version: int) -> Change:
    return ("seats", encode(number), None, version, 0)


async def apply(store: SqlStore, first: int, last: int, *changes: Change, at: int = 0) -> Outcome:
    [outcome] = await store.apply([PartitionBatch(at, 1, first, last, list(changes))], SCHEMAS)
    return outcome


async def holders(store: SqlStore) -> dict[int, str]:
    rows = [row async for row in store.read_rows("seats")]
    return {
        msgspec.msgpack.decode(row[0]): msgspec.msgpack.decode(row[1])["holder"] for row in rows
    }


async def waiting(store: SqlStore) -> list[int]:
    found = await store.dead_letters(which=LetterFilter(superseded=False))
    return [letter.version for letter in found]


# Tombstones.


async def test_a_replay_after_a_cursor_was_set_back_resurrects_nothing(
    store: SqlStore, place: Place
) -> None:
    await apply(store, 0, 3, seat(1, "ann", 1), seat(2, "bob", 2), gone(1, 3))
    place.sql("UPDATE tupelo_partitions SET cursor = 0 WHERE partition = 0")
    # In frames of other sizes than before: the first ends before the removal.
    assert (await apply(store, 0, 1, seat(1, "ann", 1))).status is Status.APPLIED
    assert await holders(store) == {2: "bob"}
    await apply(store, 1, 3, seat(2, "bob", 2), gone(1, 3))
    assert await holders(store) == {2: "bob"}
    await apply(store, 3, 4, seat(1, "eve", 4))
    assert await holders(store) == {1: "eve", 2: "bob"}


async def test_a_write_behind_the_fence_s_back_finds_row_or_tombstone(
    store: SqlStore, place: Place
) -> None:
    await apply(store, 0, 5, seat(1, "new", 4), gone(2, 5))
    place.sql("UPDATE tupelo_partitions SET cursor = 1 WHERE partition = 0")
    await apply(store, 1, 3, seat(1, "old", 2), seat(2, "old", 3))
    assert await holders(store) == {1: "new"}


async def test_tombstones_are_forgotten_after_their_time_a_bounded_number_at_a_time(
    place: Place,
) -> None:
    now = [1_000_000]
    made = store_at(place, store_tombstone_s=10.0, store_purge_rows=3)
    made._wall_ms = lambda: now[0]
    await made.claim({0: 1})
    await apply(made, 0, 5, *(gone(number, number) for number in range(1, 6)))
    count = "SELECT count(*) FROM tupelo_tombstones"
    now[0] += 10_001
    await apply(made, 5, 6, gone(9, 6))
    assert place.sql(count) == [(6 - 3,)]
    await apply(made, 6, 7, gone(10, 7))
    assert place.sql(count) == [(2,)]
    await made.close()


async def test_a_removed_key_has_one_tombstone_of_its_newest_version(
    store: SqlStore, place: Place
) -> None:
    await apply(store, 0, 2, seat(1, "a", 1), gone(1, 2))
    await apply(store, 2, 4, seat(1, "b", 3), gone(1, 4))
    assert place.sql("SELECT tupelo_version FROM tupelo_tombstones") == [(4,)]


# Dead letters.


async def test_a_repaired_database_takes_its_dead_letters(store: SqlStore, place: Place) -> None:
    await apply(store, 0, 1, seat(1, "ann", 1))
    place.refuse("seats", "holder", "poison", "no poison here")
    changes = [seat(n, "poison" if n in (2, 7) else "fine", n) for n in range(2, 10)]
    outcome = await apply(store, 1, 9, *changes)
    assert sorted(row.version for row in outcome.dead_rows) == [2, 7]
    assert {"no poison here" in row.error for row in outcome.dead_rows} == {True}
    results = await store.retry_letters(LetterFilter(), 10, SCHEMAS)
    assert [(one.letter.version, one.result) for one in results] == [(2, "refused"), (7, "refused")]
    assert await waiting(store) == [2, 7]
    place.relent("seats")
    only = LetterFilter("seats", encode(7))
    [one] = await store.retry_letters(only, 10, SCHEMAS)
    assert (one.letter.version, one.result) == (7, "stored")
    assert (await holders(store))[7] == "poison"
    assert await waiting(store) == [2]


async def test_what_the_grid_has_newer_is_not_undone_by_a_retry(
    store: SqlStore, place: Place
) -> None:
    await apply(store, 0, 1, seat(9, "x", 1))
    place.refuse("seats", "holder", "poison", "no")
    await apply(store, 1, 5, *(seat(n, "poison", n) for n in (2, 3, 4, 5)))
    place.relent("seats")
    # Each newer change as the batch of the grid, except one row that somebody else put.
    await apply(store, 5, 7, seat(2, "newer", 6), gone(3, 7))
    place.sql(
        "INSERT INTO seats (number, holder, tupelo_version, tupelo_partition, tupelo_form) "
        "VALUES (4, 'other', 99, 0, 1)"
    )
    assert await waiting(store) == [4, 5]
    # As if the newer changes had not marked them: the guards alone must hold.
    place.sql("UPDATE tupelo_dead_letters SET superseded = 0")
    results = await store.retry_letters(LetterFilter(), 10, SCHEMAS)
    assert {one.letter.version: one.result for one in results} == {
        2: "superseded",
        3: "superseded",
        4: "superseded",
        5: "stored",
    }
    assert await holders(store) == {9: "x", 2: "newer", 4: "other", 5: "poison"}
    assert await store.dead_letter_count() == 0


async def test_a_newer_letter_of_a_key_supersedes_the_older_one(
    store: SqlStore, place: Place
) -> None:
    await apply(store, 0, 1, seat(9, "x", 1))
    place.refuse("seats", "holder", "poison", "no")
    await apply(store, 1, 2, seat(1, "poison", 2))
    await apply(store, 2, 3, seat(1, "poison", 3))
    assert await waiting(store) == [3]
    assert await store.dead_letter_count() == 1


async def test_letters_are_dropped_by_choice(store: SqlStore, place: Place) -> None:
    await apply(store, 0, 1, seat(9, "x", 1))
    place.refuse("seats", "holder", "poison", "no")
    await apply(store, 1, 5, *(seat(n, "poison", n) for n in range(2, 6)))
    assert await store.drop_letters(LetterFilter(space="other"), 10) == 0
    assert await store.drop_letters(LetterFilter("seats", encode(3)), 10) == 1
    assert await store.drop_letters(LetterFilter(), 2) == 2
    assert await waiting(store) == [5]
    after = (await store.dead_letters())[0]
    place_of = (after.time_ms, after.space, after.key, after.version)
    assert await store.dead_letters(which=LetterFilter(after=place_of)) == []


async def test_a_full_table_of_letters_stops_its_partitions_and_nobody_else(place: Place) -> None:
    made = store_at(place, dead_letters_max=2)
    await made.claim({0: 1, 1: 1, 2: 1})
    await apply(made, 0, 1, seat(9, "x", 1))
    place.refuse("seats", "holder", "poison", "no")
    assert (await apply(made, 1, 3, seat(1, "poison", 2), seat(2, "poison", 3))).dead_letters == 2
    batches = [
        PartitionBatch(0, 1, 3, 5, [seat(3, "poison", 4), seat(4, "held back", 5)]),
        PartitionBatch(1, 1, 0, 1, [seat(11, "goes on", 1)]),
        PartitionBatch(2, 1, 0, 1, [seat(21, "poison", 1)]),
    ]
    outcomes = await made.apply(batches, SCHEMAS)
    assert [(out.status, out.cursor) for out in outcomes] == [
        (Status.FULL, 3),
        (Status.APPLIED, 1),
        (Status.FULL, 0),
    ]
    assert await holders(made) == {9: "x", 11: "goes on"}
    assert await made.dead_letter_count() == 2
    assert {n: cursor for n, (_, cursor) in (await made.cursors()).items()} == {0: 3, 1: 1, 2: 0}
    # Room for two more: what waited is stored, or put aside in its turn.
    assert await made.drop_letters(LetterFilter(), 10) == 2
    outcomes = await made.apply([batches[0], batches[2]], SCHEMAS)
    assert [out.status for out in outcomes] == [Status.APPLIED, Status.APPLIED]
    assert (await holders(made))[4] == "held back"
    assert await made.dead_letter_count() == 2
    await made.close()


async def test_the_store_s_own_trouble_makes_no_dead_letters(store: SqlStore, place: Place) -> None:
    """A table that somebody dropped is the store's fault, not each row's."""
    await apply(store, 0, 1, seat(9, "x", 1))
    place.sql("ALTER TABLE seats RENAME TO seats_away")
    with pytest.raises(StoreAway):
        await apply(store, 1, 2, seat(1, "a", 2))
    place.sql("ALTER TABLE seats_away RENAME TO seats")
    assert (await apply(store, 1, 2, seat(1, "a", 2))).status is Status.APPLIED
    assert await store.dead_letter_count() == 0


async def test_an_unknown_error_is_the_rows_only_while_the_store_answers(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await apply(store, 0, 1, seat(9, "x", 1))
    monkeypatch.setattr(store._backend, "is_content_error", lambda error: None)
    table = store._registry.table(SEATS)

    class Odd:
        def put(self, connection: Any, rows: Any) -> None:
            if any(row[0] == 3 for row in rows):
                raise RuntimeError("never heard of")
            table.writes.put(connection, rows)

        def remove(self, connection: Any, keys: Any) -> None:
            table.writes.remove(connection, keys)

    odd = SpaceTable(table.mapping, Odd())
    monkeypatch.setattr(store._registry, "table", lambda _: odd)
    outcome = await apply(store, 1, 4, seat(2, "a", 2), seat(3, "b", 3), seat(4, "c", 4))
    assert [(row.version, row.error) for row in outcome.dead_rows] == [(3, "never heard of")]
    assert await holders(store) == {9: "x", 2: "a", 4: "c"}
