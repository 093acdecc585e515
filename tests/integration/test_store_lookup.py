"""Rows of single keys: found in every form, with what the store knew before them."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
import pytest
from tupelo.schema import FieldSchema, SpaceSchema
from tupelo_grid.core.pump_frames import PartitionBatch
from tupelo_grid.store.lookup import KEYS_A_STATEMENT
from tupelo_grid.store.port import StoreUnusable

from tests.integration.store_places import Place, store_at
from tests.integration.test_store_mapped import ORDERS, TABLE
from tests.integration.test_store_sql import DOCS, SCHEMAS, SEATS, batch, put, seat

encode = msgspec.msgpack.encode


async def test_rows_come_with_the_fences_of_their_partitions(place: Place) -> None:
    store = store_at(place)
    await store.claim({0: 3, 1: 4})
    await store.apply([batch(0, 9, put("a", 1, 7, deadline=99), put("b", 2, 9), epoch=3)], SCHEMAS)
    found = await store.read_keys(DOCS, [0, 1, 2], [encode("a"), encode("x"), encode("b")])
    assert found.fences == {0: (3, 9), 1: (4, 0)}
    assert found.rows == {
        encode("a"): (encode("a"), encode(1), 7, 99),
        encode("b"): (encode("b"), encode(2), 9, 0),
    }
    assert not found.dead
    await store.close()


async def test_keys_of_several_fields_and_forms(place: Place) -> None:
    store = store_at(place)
    await store.claim({0: 1})
    await store.apply([batch(0, 1, seat(1, "ann", 1))], SCHEMAS)
    wider = msgspec.structs.replace(SEATS, fields=(*SEATS.fields, FieldSchema("note", "str", True)))
    schemas = {**SCHEMAS, "seats": wider}
    await store.apply([batch(1, 2, seat(2, "bob", 2, note="vip"))], schemas)
    keys = [encode(["e", number]) for number in (1, 2, 3)]
    found = await store.read_keys(wider, [0], [*keys, encode("no key of this space")])
    assert [msgspec.msgpack.decode(found.rows[key][1]) for key in keys[:2]] == [
        {"event": "e", "number": 1, "holder": "ann"},
        {"event": "e", "number": 2, "holder": "bob", "note": "vip"},
    ]
    assert set(found.rows) == set(keys[:2])
    await store.close()


TYPES: dict[str, Any] = {
    "int": -(2**63),
    "float": 0.1,
    "str": "ö'\"",
    "bytes": b"\x00\xff",
    "bool": True,
    "datetime": datetime.datetime(2013, 11, 27, 9, 30, 0, 1, datetime.UTC),
    "date": "2013-11-27",
    "decimal": "12.50",
    "uuid": "12345678-1234-5678-1234-567812345678",
}


@pytest.mark.parametrize("kind", TYPES)
async def test_a_key_of_every_type_is_found(place: Place, kind: Any) -> None:
    schema = SpaceSchema("things", key=("id",), fields=(FieldSchema("id", kind),))
    store = store_at(place)
    await store.claim({0: 1})
    key, value = encode(TYPES[kind]), encode({"id": TYPES[kind]})
    [out] = await store.apply([batch(0, 1, ("things", key, value, 1, 0))], {"things": schema})
    assert not out.dead_rows
    assert (await store.read_keys(schema, [0], [key])).rows == {key: (key, value, 1, 0)}
    await store.close()


async def test_rows_of_others_are_found_before_the_grid_has_put_any(place: Place) -> None:
    place.sql(TABLE)
    place.sql("INSERT INTO shop_orders (order_no, customer_name) VALUES (5, 'eve')")
    store = store_at(place)
    found = await store.read_keys(ORDERS, [0], [encode(5), encode(6)])
    assert found.fences == {}
    [(_, value, version, deadline)] = found.rows.values()
    assert msgspec.msgpack.decode(value)["customer"] == "eve"
    assert (version, deadline) == (1, 0)
    await store.close()


async def test_without_its_table_the_command_is_named(place: Place) -> None:
    made = store_at(place)
    await made.open()
    await made.close()
    store = store_at(place, store_create="never")
    with pytest.raises(StoreUnusable) as caught:
        await store.read_keys(DOCS, [0], [encode(1)])
    assert "tupelo store init" in str(caught.value)
    await store.close()


async def test_more_keys_than_one_statement_takes(place: Place) -> None:
    store = store_at(place)
    await store.claim({0: 1})
    count = 2 * KEYS_A_STATEMENT + 3
    changes = [put(f"k{n}", n, n + 1) for n in range(count)]
    await store.apply([PartitionBatch(0, 1, 0, count, changes)], SCHEMAS)
    keys = [encode(f"k{n}") for n in range(count)]
    assert len((await store.read_keys(DOCS, [0], keys)).rows) == count
    await store.close()


async def test_dead_letters_are_told(place: Place) -> None:
    place.sql(TABLE)
    store = store_at(place)
    await store.claim({0: 1})
    value = encode({"id": 1, "customer": "a name far too long", "total": None, "placed": None})
    dead = ("orders", encode(1), value, 1, 0)
    [out] = await store.apply([batch(0, 1, dead)], {"orders": ORDERS})
    assert len(out.dead_rows) == 1
    found = await store.read_keys(ORDERS, [0], [encode(1), encode(2)])
    assert (found.dead, found.rows) == ({encode(1)}, {})
    assert await store.dead_keys("orders") == {encode(1)}
    assert await store.dead_keys("docs") == frozenset()
    gone = ("orders", encode(1), None, 2, 0)
    await store.apply([batch(1, 2, gone)], {"orders": ORDERS})
    assert await store.dead_keys("orders") == frozenset()
    await store.close()
