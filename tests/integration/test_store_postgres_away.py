"""PostgreSQL that is away, hangs, or lets nobody make tables."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tupelo_grid.config import GridConfig
from tupelo_grid.core.pump_frames import PartitionBatch
from tupelo_grid.store.factory import make_store
from tupelo_grid.store.port import Status, StoreAway, StoreUnusable
from tupelo_grid.store.sql import SqlStore

from engines.postgres import PostgresServer
from tests.integration.store_places import GRID, PostgresPlace, store_at
from tests.integration.test_store_sql import SCHEMAS, batch, put, seat, statuses


@pytest.fixture
def place(postgres: PostgresServer, postgres_database: str) -> PostgresPlace:
    return PostgresPlace(postgres, postgres_database)


@pytest.fixture
async def store(place: PostgresPlace) -> AsyncIterator[SqlStore]:
    made = store_at(place)
    await made.open()
    yield made
    await made.close()


# Outages.


async def test_a_server_that_is_killed_is_away_and_comes_back(
    place: PostgresPlace, store: SqlStore
) -> None:
    await store.claim({0: 1})
    await statuses(store, batch(0, 1, put("a", 1, 1)))
    place.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
        f"'{place.database}' AND pid <> pg_backend_pid()"
    )
    with pytest.raises(StoreAway):
        await store.apply([batch(1, 2, put("b", 1, 2))], SCHEMAS)
    for _ in range(10):
        try:
            assert await statuses(store, batch(1, 2, put("b", 1, 2))) == [(Status.APPLIED, 2)]
            break
        except StoreAway:  # one of the pool's connections that the server has closed
            continue
    assert await store.counts() == {"docs": 2}


async def test_a_server_that_hangs_is_away_after_the_timeout(place: PostgresPlace) -> None:
    store = store_at(place, store_timeout_s=0.3, store_connect_s=0.3)
    await store.claim({0: 1})
    await statuses(store, batch(0, 1, put("a", 1, 1)))
    place.server.pause()
    try:
        with pytest.raises(StoreAway, match="no answer in time"):
            await store.apply([batch(1, 2, put("b", 1, 2))], SCHEMAS)
        with pytest.raises(StoreAway):
            await store.cursors()
    finally:
        place.server.resume()
    while True:
        try:
            found = await store.claim({0: 1})
            break
        except StoreAway:  # the server has only just been resumed
            continue
    cursor = found[0].cursor
    assert cursor in (1, 2), "in doubt until it is asked"
    await store.close()


async def test_nobody_listening_is_away(tmp_path: Any) -> None:
    store = make_store(
        GridConfig(store_url="postgresql://ann:sekret@127.0.0.1:1/grid", store_connect_s=1.0), GRID
    )
    with pytest.raises(StoreAway, match=r"postgresql ann@127\.0\.0\.1:1/grid") as caught:
        await store.open()
    assert "sekret" not in str(caught.value)
    await store.close()


# Who may make tables.


async def test_without_tables_the_command_is_named(place: PostgresPlace) -> None:
    store = store_at(place, store_create="")
    with pytest.raises(StoreUnusable, match="lacks tupelo's tables") as caught:
        await store.open()
    assert "tupelo store init" in caught.value.hint
    await store.close()


async def test_a_user_who_may_make_nothing_writes_into_what_init_made(
    place: PostgresPlace,
) -> None:
    owner = store_at(place, None)
    actions = await owner.init({"docs": SCHEMAS["docs"]})
    assert "table docs made for space docs" in actions
    assert await owner.init({"docs": SCHEMAS["docs"]}) == []
    await owner.close()
    user = f"u{place.database}"
    place.sql(f"CREATE ROLE {user} LOGIN")
    place.sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {user}")
    url = place.url.replace("postgres@", f"{user}@")
    store = make_store(GridConfig(store_url=url), GRID)
    await store.claim({0: 1, 1: 1})
    known = PartitionBatch(0, 1, 0, 1, [put("a", 1, 1)])
    unknown = PartitionBatch(1, 1, 0, 1, [seat(1, "x", 1)])
    out = await store.apply([unknown, known], SCHEMAS)
    assert [one.status for one in out] == [Status.NO_TABLE, Status.APPLIED]
    assert "space 'seats' has no table: run `tupelo store init`" in out[0].error
    owner = store_at(place, None)
    await owner.init(SCHEMAS)
    await owner.close()
    place.sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {user}")
    assert await statuses(store, PartitionBatch(1, 1, 0, 1, [seat(1, "x", 1)])) == [
        (Status.APPLIED, 1)
    ]
    await store.close()
    place.sql(f"DROP OWNED BY {user}")
    place.sql(f"DROP ROLE {user}")


async def test_the_wrong_user_or_database_needs_a_person(place: PostgresPlace) -> None:
    for url, words in (
        (place.url.replace("postgres@", "nobody_at_all@"), "nobody_at_all"),
        (place.url + "_not", "does not exist"),
    ):
        store = make_store(GridConfig(store_url=url), GRID)
        with pytest.raises(StoreUnusable, match=words):
            await store.open()
        await store.close()
