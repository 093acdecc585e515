"""Tables of the store that are missing, old or of a later version, on SQLite and PostgreSQL."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from tupelo.schema import FieldSchema, SpaceSchema
from tupelo_grid.store import prepare, tables
from tupelo_grid.store.port import StoreUnusable

from tests.integration.store_places import Place, store_at
from tests.integration.test_store_sql import DOCS, SEATS


async def init(place: Place, *schemas: SpaceSchema) -> list[str]:
    store = store_at(place, None)
    try:
        return await store.init({schema.name: schema for schema in schemas})
    finally:
        await store.close()


async def opened(place: Place, **settings: str) -> None:
    store = store_at(place, **settings)
    try:
        await store.open()
    finally:
        await store.close()


async def test_init_is_done_once_and_says_what_it_did(place: Place) -> None:
    with pytest.raises(StoreUnusable, match="lacks tupelo's tables") as caught:
        await opened(place, store_create="never")
    assert "tupelo store init" in caught.value.hint
    first = await init(place, DOCS)
    assert first == [
        *(f"table {name} made" for name in tables.metadata.tables),
        "table docs made for space docs",
    ]
    assert await init(place, DOCS) == []
    await opened(place, store_create="never")
    assert await init(place, DOCS, SEATS) == ["table seats made for space seats"]
    wider = SpaceSchema(
        "seats", SEATS.key, fields=(*SEATS.fields, FieldSchema("note", "str", optional=True))
    )
    assert await init(place, wider) == ["column note added to table seats"]
    assert await init(place, wider, SEATS) == []


async def test_older_tables_are_brought_up_by_init_only(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await init(place)
    monkeypatch.setattr(tables, "FORMAT", str(int(tables.FORMAT) + 2))
    with pytest.raises(StoreUnusable, match="tables of format") as caught:
        await opened(place, store_create="never")
    assert "tupelo store init" in caught.value.hint

    def step(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE tupelo_partitions ADD COLUMN wanted INTEGER")

    last = int(tables.FORMAT)
    monkeypatch.setitem(prepare.STEPS, last - 2, step)
    assert await init(place) == [
        f"format {last - 2} brought to {last - 1}",
        f"format {last - 1} brought to {last}",
    ]
    assert place.sql("SELECT wanted FROM tupelo_partitions") == []
    await opened(place, store_create="never")


async def test_a_migration_that_fails_changes_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await init(place)
    before = tables.FORMAT
    monkeypatch.setattr(tables, "FORMAT", str(int(before) + 1))

    def step(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE tupelo_partitions ADD COLUMN wanted INTEGER")
        raise RuntimeError("half way")

    monkeypatch.setitem(prepare.STEPS, int(before), step)
    with pytest.raises(RuntimeError, match="half way"):
        await init(place)
    monkeypatch.setattr(tables, "FORMAT", before)
    monkeypatch.delitem(prepare.STEPS, int(before))
    assert await init(place) == []
    await opened(place, store_create="never")


async def test_tables_of_a_later_version_are_left_alone(place: Place) -> None:
    await init(place)
    place.sql("UPDATE tupelo_meta SET value = '99' WHERE name = 'format'")
    for settings in ({}, {"store_create": "never"}):
        with pytest.raises(StoreUnusable, match="has format 99"):
            await opened(place, **settings)
