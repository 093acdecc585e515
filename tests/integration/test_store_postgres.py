"""What only PostgreSQL can do to the store: types, roles, locks, outages, many rows at once."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import random
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from tupelo.schema import FieldSchema, SpaceSchema
from tupelo_grid.core.pump_frames import Change, PartitionBatch
from tupelo_grid.store import postgres_writes
from tupelo_grid.store.mapping import make_mapping
from tupelo_grid.store.port import Status
from tupelo_grid.store.postgres_fields import POSTGRES_CODECS
from tupelo_grid.store.sql import SqlStore
from tupelo_grid.store.tables import select_text

from engines.postgres import PostgresServer
from tests.integration.store_places import PostgresPlace, store_at
from tests.integration.test_store_sql import SCHEMAS, batch, encode, put, rows, seat, statuses
from tests.pause import pause
from tests.unit.test_store_mapping import SCHEMA as EVERYTHING
from tests.unit.test_store_mapping import Everything, documents, everything


@pytest.fixture
def place(postgres: PostgresServer, postgres_database: str) -> PostgresPlace:
    return PostgresPlace(postgres, postgres_database)


@pytest.fixture
async def store(place: PostgresPlace) -> AsyncIterator[SqlStore]:
    made = store_at(place)
    await made.open()
    yield made
    await made.close()


# Types.


def entry(**more: Any) -> dict[str, Any]:
    return {"id": 7, "name": "ann", **more}


async def test_fields_have_columns_of_their_own_types(
    place: PostgresPlace, store: SqlStore
) -> None:
    value = encode(
        entry(
            number=-5,
            ratio=float("nan"),
            text="x",
            raw=b"\0",
            flag=False,
            at=datetime.datetime(2013, 11, 27, 9, 30, 0, 5, datetime.UTC),
            local=datetime.datetime(2013, 11, 27),
            day=datetime.date(2013, 11, 27),
            price=decimal.Decimal("1.20"),
            token=uuid.UUID(int=5),
            doc={"b": [1], "a": 1.0},
        )
    )
    await store.claim({0: 1})
    change: Change = (EVERYTHING.name, encode(["ann", 7]), value, 1, 0)
    [out] = await store.apply([batch(0, 1, change)], {EVERYTHING.name: EVERYTHING})
    assert not out.dead_rows, out
    types = place.sql(
        "SELECT column_name, data_type FROM information_schema.columns "
        f"WHERE table_name = '{EVERYTHING.name}' AND column_name NOT LIKE 'tupelo_%'"
    )
    assert dict(types) == {
        "id": "bigint",
        "name": "text",
        "number": "bigint",
        "ratio": "double precision",
        "text": "text",
        "raw": "bytea",
        "flag": "boolean",
        "at": "timestamp with time zone",
        "local": "timestamp with time zone",
        "day": "date",
        "price": "numeric",
        "token": "uuid",
        "doc": "jsonb",
    }
    found = place.sql(f"SELECT price + 1, doc ->> 'a', day, token FROM {EVERYTHING.name}")
    assert [tuple(map(str, row)) for row in found] == [
        ("2.20", "1.0", "2013-11-27", str(uuid.UUID(int=5)))
    ]
    assert [row async for row in store.read_rows(EVERYTHING.name)] == [(*change[1:4], 0)]


async def test_any_entry_comes_back_exactly_or_is_refused(store: SqlStore) -> None:
    """Within one transaction, on the store's own thread: there are many examples."""
    typed = make_mapping(EVERYTHING, POSTGRES_CODECS)
    document = make_mapping(SpaceSchema("anything"), POSTGRES_CODECS)
    backend = store._backend

    def work(connection: sa.Connection) -> None:
        for mapping in (typed, document):
            mapping.table.create(connection)

        def through(mapping: Any, key: bytes, value: bytes) -> Any:
            row = mapping.row(key, value, 5, 3, 0)
            backend.writes(mapping.table, {}).put(connection, [row])
            text = select_text(mapping.select(), backend.dialect)
            [read] = connection.exec_driver_sql(text).fetchall()
            back = mapping.entry(tuple(read))
            connection.exec_driver_sql(f'DELETE FROM "{mapping.table.name}"')
            return back[:2]

        @given(one=everything.filter(lambda one: "\0" not in one.name + (one.text or "")))
        @settings(max_examples=150, deadline=None)
        def typed_entries(one: Everything) -> None:
            key, value = encode([one.name, one.id]), encode(one)
            assert through(typed, key, value) == (key, value)

        @given(key=st.text() | st.integers(0, 2**63 - 1), value=documents)
        @settings(max_examples=150, deadline=None)
        def documents_of_any_kind(key: Any, value: Any) -> None:
            assert through(document, encode(key), encode(value)) == (encode(key), encode(value))

        typed_entries()
        documents_of_any_kind()

    await backend.write(work)


@pytest.mark.parametrize(
    "text", ["1E+5", "-0", "0.000", "1E-20", "NaN", "Infinity", "123456789.0123456789", "-1.50"]
)
async def test_decimals_are_numbers_and_exact(
    place: PostgresPlace, store: SqlStore, text: str
) -> None:
    schema = SpaceSchema(
        "prices", key=("id",), fields=(FieldSchema("id", "int"), FieldSchema("price", "decimal"))
    )
    change: Change = ("prices", encode(1), encode({"id": 1, "price": text}), 1, 0)
    await store.claim({0: 1})
    [out] = await store.apply([batch(0, 1, change)], {"prices": schema})
    assert not out.dead_rows
    assert [row[1] async for row in store.read_rows("prices")] == [change[2]]
    [(price,)] = place.sql("SELECT price FROM prices")
    wanted = decimal.Decimal(text)
    assert price is None if not wanted.is_finite() else price == wanted


async def test_a_table_in_another_schema_with_an_enum_and_short_columns(
    place: PostgresPlace, store: SqlStore
) -> None:
    place.sql("CREATE SCHEMA shop")
    place.sql("CREATE TYPE shop.state AS ENUM ('open', 'sold')")
    place.sql(
        "CREATE TABLE shop.places (id uuid, code varchar(5), state shop.state, size smallint, "
        'at timestamp, "odd {name}" jsonb, UNIQUE (code))'
    )
    schema = SpaceSchema(
        "places",
        key=("code",),
        fields=(
            FieldSchema("code", "str"),
            FieldSchema("state", "str"),
            FieldSchema("size", "int"),
            FieldSchema("at", "datetime"),
            FieldSchema("extra", "json"),
        ),
        table="shop.places",
        columns=(("extra", "odd {name}"),),
    )

    def one(version: int, **more: Any) -> Change:
        value = {"code": "A1", "state": "open", "size": 3, "extra": {"x": [1, 2]}, **more}
        return ("places", encode(value["code"]), encode(value), version, 0)

    placed = datetime.datetime(2013, 11, 27, 9, 30, tzinfo=datetime.UTC)
    changes = [
        one(1, at=placed),
        one(2, code="too long"),
        one(3, code="A3", state="gone"),
        one(4, code="A4", size=40_000),
    ]
    await store.claim({0: 1})
    [out] = await store.apply([batch(0, 9, *changes)], {"places": schema})
    assert sorted(row.version for row in out.dead_rows) == [2, 3, 4]
    [row] = place.sql("SELECT code, state::text, size, at, \"odd {name}\" -> 'x' FROM shop.places")
    assert row == ("A1", "open", 3, placed.replace(tzinfo=None), "[1, 2]")
    assert [found[:2] async for found in store.read_rows("places")] == [changes[0][1:3]]
    assert await store.counts() == {"places": 1}


async def test_what_a_column_cannot_hold_is_put_aside(store: SqlStore) -> None:
    long = "x" * 60_000
    await store.claim({0: 1})
    [out] = await store.apply(
        [batch(0, 9, seat(1, "nul\0", 1), put("a\0b", "c\0d", 2), put(long, 1, 3), put("b", 1, 4))],
        SCHEMAS,
    )
    # A key this long fits into no index of PostgreSQL, that of dead letters included.
    assert [row.version for row in out.dead_rows] == [1]
    assert sorted(row[2] for row in (await rows(store, "docs")).values()) == [2, 3, 4]
    assert len(await store.dead_letters()) == 1


async def test_keys_too_long_for_an_index_are_put_aside(store: SqlStore) -> None:
    key = encode(random.Random(1).randbytes(20_000))
    await store.claim({0: 1})
    change: Change = ("docs", key, encode(1), 1, 0)
    [out] = await store.apply([batch(0, 2, change, put("b", 1, 2))], SCHEMAS)
    assert [row.version for row in out.dead_rows] == [1]
    [letter] = await store.dead_letters()
    assert letter.key == key
    gone: Change = ("docs", key, None, 3, 0)
    [out] = await store.apply([batch(2, 3, gone)], SCHEMAS)
    assert out.status is Status.APPLIED


# Many rows, many at once.


async def test_a_key_several_times_in_one_big_batch(store: SqlStore) -> None:
    await store.claim({0: 1})
    count = 3 * postgres_writes.COPY_ROWS_MIN
    changes = [put(f"k{n % 500}", n, n) for n in range(1, count + 1)]
    assert await statuses(store, batch(0, count, *changes)) == [(Status.APPLIED, count)]
    assert sorted(row[2] for row in (await rows(store, "docs")).values()) == list(
        range(count - 499, count + 1)
    )
    await statuses(store, batch(count, count + 1, put("k0", "old", 1)))
    assert (await rows(store, "docs"))[encode("k0")][2] > 1


async def test_poison_in_a_big_batch_is_found_and_the_rest_copied(
    place: PostgresPlace, store: SqlStore
) -> None:
    await store.claim({0: 1})
    await statuses(store, batch(0, 1, seat(0, "first", 1)))
    place.sql("ALTER TABLE seats ADD CHECK (length(holder) < 10)")
    poison = {100, 2500, 2501}
    changes = [seat(n, "x" * 20 if n in poison else "ok", n) for n in range(2, 5002)]
    [out] = await store.apply([batch(1, 5001, *changes)], SCHEMAS)
    assert {row.version for row in out.dead_rows} == poison
    assert (await store.counts())["seats"] == 5001 - 3


async def test_what_an_earlier_copy_of_the_transaction_left_is_not_put_again(
    place: PostgresPlace, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.claim({0: 1})
    await statuses(store, batch(0, 1, seat(0, "first", 1)))
    place.sql("ALTER TABLE seats ADD CHECK (length(holder) < 10)")
    sizes: list[int] = []
    put_rows = postgres_writes.PostgresWrites.put

    def counting(self: Any, connection: sa.Connection, rows: Any) -> None:
        sizes.append(len(rows))
        put_rows(self, connection, rows)

    monkeypatch.setattr(postgres_writes.PostgresWrites, "put", counting)
    # The same seats in both halves, and what is refused at the very end.
    count = 4 * postgres_writes.COPY_ROWS_MIN
    changes = [seat(n % (count // 2), "ok", n) for n in range(2, count)]
    poison = seat(count, "far too long a name", count)
    [out] = await store.apply([batch(1, count, *changes, poison)], SCHEMAS)
    assert [row.version for row in out.dead_rows] == [count]
    assert len(sizes) <= 2 * count.bit_length() + 1


async def test_transactions_run_side_by_side(place: PostgresPlace) -> None:
    store = store_at(place, store_write_connections_max=4)
    assert store.concurrency == 4
    await store.claim(dict.fromkeys(range(8), 1))

    async def write(partition: int) -> None:
        for step in range(5):
            changes = [put(f"{partition}-{n}", step, step + 1) for n in range(50)]
            one = PartitionBatch(partition, 1, step, step + 1, changes)
            [out] = await store.apply([one], SCHEMAS)
            assert out.status is Status.APPLIED

    await asyncio.gather(*(write(partition) for partition in range(8)))
    assert await store.counts() == {"docs": 400}
    # One that holds its partition's fence keeps nobody else from theirs.
    hold = asyncio.ensure_future(
        asyncio.to_thread(
            place.server.execute,
            "DO $$ BEGIN PERFORM 1 FROM tupelo_partitions WHERE partition = 0 FOR UPDATE; "
            "PERFORM pg_sleep(1); END $$",
            database=place.database,
        )
    )
    asleep = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    while not place.sql(asleep):
        await pause(0.01)
    stuck = asyncio.ensure_future(
        store.apply([PartitionBatch(0, 1, 5, 6, [put("z", 1, 9)])], SCHEMAS)
    )
    await store.apply([PartitionBatch(1, 1, 5, 6, [put("y", 1, 9)])], SCHEMAS)
    assert not stuck.done()
    await hold
    assert [out.status for out in await stuck] == [Status.APPLIED]
    await store.close()


async def test_two_writers_make_the_tables_at_the_same_time(place: PostgresPlace) -> None:
    stores = [store_at(place) for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    await stores[0].claim(dict.fromkeys(range(4), 1))
    outs = await asyncio.gather(
        *(
            store.apply([PartitionBatch(n, 1, 0, 1, [put(f"k{n}", n, 1)])], SCHEMAS)
            for n, store in enumerate(stores)
        )
    )
    assert [out[0].status for out in outs] == [Status.APPLIED] * 4
    assert not [row for out in outs for row in out[0].dead_rows]
    assert await stores[0].counts() == {"docs": 4}
    for store in stores:
        await store.close()


async def test_a_reader_takes_some_partitions_and_no_writers_connection(
    place: PostgresPlace,
) -> None:
    store = store_at(place, store_write_connections_max=1, store_read_connections_max=1)
    await store.claim(dict.fromkeys(range(3), 1))
    for partition in range(3):
        changes = [put(f"{partition}-{n}", n, n + 1) for n in range(1500)]
        await store.apply([PartitionBatch(partition, 1, 0, 1500, changes)], SCHEMAS)
    found = 0
    async for page in store.read_pages("docs", [0, 2]):
        assert len(page) <= 1000
        if not found:
            await store.apply([PartitionBatch(0, 1, 1500, 1501, [put("late", 1, 9)])], SCHEMAS)
        found += len(page)
    assert found == 3000
    async for _ in store.read_rows("docs"):
        break  # left half way: its connection is free again
    assert (await store.counts())["docs"] == 4501
    assert [row async for row in store.read_rows("docs", [])] == []
    await store.close()
