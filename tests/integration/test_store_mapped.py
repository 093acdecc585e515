"""Spaces on tables that are there already, on SQLite and PostgreSQL."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from tupelo.schema import FieldSchema, SpaceSchema
from tupelo_grid.core.pump_frames import Change, PartitionBatch
from tupelo_grid.store.port import Status, StoreUnusable
from tupelo_grid.store.sql import SqlStore

from tests.integration.store_places import Place, store_at

encode = msgspec.msgpack.encode

ORDERS = SpaceSchema(
    "orders",
    key=("id",),
    fields=(
        FieldSchema("id", "int"),
        FieldSchema("customer", "str"),
        FieldSchema("total", "decimal", optional=True),
        FieldSchema("placed", "datetime", optional=True),
    ),
    table="shop_orders",
    columns=(("id", "order_no"), ("customer", "customer_name")),
)
TABLE = """CREATE TABLE shop_orders (
    order_no INTEGER NOT NULL PRIMARY KEY,
    customer_name VARCHAR(10) NOT NULL CHECK (length(customer_name) < 11),
    total NUMERIC(10, 2),
    placed TIMESTAMP,
    region TEXT DEFAULT 'north',
    remark TEXT
)"""


@pytest.fixture
async def store(place: Place) -> AsyncIterator[SqlStore]:
    place.sql(TABLE)
    made = store_at(place)
    await made.open()
    await made.claim({0: 1})
    yield made
    await made.close()


def order(number: int, customer: str, version: int, **more: Any) -> Change:
    value = {"id": number, "customer": customer, "total": None, "placed": None, **more}
    return ("orders", encode(number), encode(value), version, 0)


async def apply(store: SqlStore, first: int, last: int, *changes: Change) -> list[str]:
    batch = PartitionBatch(0, 1, first, last, list(changes))
    [out] = await store.apply([batch], {"orders": ORDERS})
    assert out.status is Status.APPLIED
    return [row.error for row in out.dead_rows]


async def test_entries_are_rows_of_the_table(place: Place, store: SqlStore) -> None:
    placed = datetime.datetime(2013, 11, 27, 9, 30, tzinfo=datetime.UTC)
    change = order(7, "ann", 1, total="12.50", placed=placed)
    assert not await apply(store, 0, 1, change)
    found = place.sql("SELECT order_no, customer_name, total, placed, region FROM shop_orders")
    [(number, customer, total, at, region)] = found
    assert (number, customer, float(total), region) == (7, "ann", 12.5, "north")
    assert str(at).startswith("2013-11-27")
    assert [row async for row in store.read_rows("orders")] == [(*change[1:4], 0)]
    # What the table has beside stays as others set it, and an older version changes nothing.
    place.sql("UPDATE shop_orders SET remark = 'fragile', region = 'south'")
    await apply(store, 1, 3, order(7, "bob", 3), order(7, "old", 2))
    columns = "customer_name, total, region, remark, tupelo_version"
    assert place.sql(f"SELECT {columns} FROM shop_orders") == [("bob", None, "south", "fragile", 3)]
    await apply(store, 3, 4, ("orders", encode(7), None, 4, 0))
    assert place.sql("SELECT * FROM shop_orders") == []


async def test_rounded_columns_do_not_round_entries(place: Place, store: SqlStore) -> None:
    change = order(1, "x", 1, total="1.005000")
    await apply(store, 0, 1, change)
    assert [row[1] async for row in store.read_rows("orders")] == [change[2]]


async def test_rows_of_others_are_entries_too_and_guarded(place: Place) -> None:
    place.sql(TABLE)
    place.sql(
        "INSERT INTO shop_orders (order_no, customer_name, total, placed) "
        "VALUES (5, 'eve', 3.50, '2013-11-27 09:30:00')"
    )
    store = store_at(place)
    await store.claim({0: 1})
    await apply(store, 0, 2, order(6, "ann", 2))
    found = {row[0]: row async for row in store.read_rows("orders", [0])}
    _, value, version, deadline = found[encode(5)]
    assert (version, deadline) == (1, 0)
    entry = msgspec.msgpack.decode(value)
    assert (entry["id"], entry["customer"], float(entry["total"])) == (5, "eve", 3.5)
    assert str(entry["placed"]).startswith("2013-11-27")
    assert len(found) == 2
    await apply(store, 2, 3, order(5, "eva", 3))
    assert place.sql("SELECT customer_name FROM shop_orders WHERE order_no = 5") == [("eva",)]
    await store.close()


async def test_what_the_table_refuses_is_put_aside(place: Place, store: SqlStore) -> None:
    long = order(1, "a name far too long", 1)
    [error] = await apply(store, 0, 3, long, order(2, "ok", 2), order(3, "ok", 3))
    assert "customer_name" in error or "character varying(10)" in error or "CHECK" in error
    assert place.sql("SELECT order_no FROM shop_orders ORDER BY order_no") == [(2,), (3,)]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("order_no TEXT PRIMARY KEY, customer_name TEXT", "cannot hold field 'id'"),
        ("order_no INTEGER, customer_name TEXT", "no primary key or unique constraint"),
        (
            "order_no INTEGER PRIMARY KEY, customer_name TEXT, must TEXT NOT NULL",
            "'must' of table 'shop_orders' is of no field",
        ),
        ("order_no NUMERIC PRIMARY KEY, customer_name TEXT", "cannot hold field 'id'"),
    ],
)
async def test_a_table_that_cannot_hold_the_space_says_why(
    place: Place, table: str, words: str
) -> None:
    place.sql(f"CREATE TABLE shop_orders ({table})")
    store = store_at(place, None)
    with pytest.raises(StoreUnusable, match=words):
        await store.init({"orders": ORDERS})
    assert await columns(place) == table.count(",") + 1, "nothing was changed"
    await store.close()


async def columns(place: Place) -> int:
    if place.name == "sqlite":
        return len(place.sql("PRAGMA table_info(shop_orders)"))
    found = place.sql(
        "SELECT count(*) FROM information_schema.columns WHERE table_name = 'shop_orders'"
    )
    return int(found[0][0])


async def test_init_says_what_it_added_and_once(place: Place) -> None:
    place.sql(TABLE)
    store = store_at(place, None)
    actions = await store.init({"orders": ORDERS})
    assert [action for action in actions if "shop_orders" in action] == [
        f"column tupelo_{name} added to table shop_orders"
        for name in ("value", "version", "partition", "deadline", "form")
    ]
    assert await store.init({"orders": ORDERS}) == []
    wider = SpaceSchema(
        "orders",
        key=ORDERS.key,
        fields=(*ORDERS.fields, FieldSchema("note", "str", optional=True)),
        table=ORDERS.table,
        columns=ORDERS.columns,
    )
    assert await store.init({"orders": wider}) == ["column note added to table shop_orders"]
    await store.close()


async def test_a_table_that_is_not_there_is_made(place: Place) -> None:
    store = store_at(place)
    await store.claim({0: 1})
    change = order(7, "ann", 1)
    await apply(store, 0, 1, change)
    assert place.sql("SELECT order_no, customer_name FROM shop_orders") == [(7, "ann")]
    assert [row async for row in store.read_rows("orders")] == [(*change[1:4], 0)]
    await store.close()


async def test_two_spaces_do_not_share_a_table(place: Place, store: SqlStore) -> None:
    await apply(store, 0, 1, order(1, "ann", 1))
    other = SpaceSchema(
        "others", ORDERS.key, fields=ORDERS.fields, table=ORDERS.table, columns=ORDERS.columns
    )
    with pytest.raises(StoreUnusable, match="holds space 'orders'"):
        await store.init({"others": other})
