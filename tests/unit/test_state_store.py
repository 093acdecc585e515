"""The rules of the state store, on the pure state and on both local adapters."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.hub import TooManyWatchers
from tupelo_grid.coordinator.port import Hint, StateStore, StoreAway, StoreInDoubt, next_incarnation
from tupelo_grid.coordinator.sqlite import SqliteStateStore
from tupelo_grid.coordinator.state_file import FORMAT, StateFile, StateFileError
from tupelo_grid.core.statestore import TXN_OPERATIONS_MAX, KeyValue, MemoryState

from tests.memory_store import MemoryStateStore

CONFIG = GridConfig()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StateStore]:
    if request.param == "memory":
        yield MemoryStateStore(CONFIG)
    else:
        async with SqliteStateStore(tmp_path / "state.sqlite", CONFIG) as opened:
            yield opened


async def test_a_put_gets_the_next_revision_and_a_read_sees_it(store: StateStore) -> None:
    first = await store.txn([], {"part/1": b"a", "part/2": b"b"})
    second = await store.txn([("part/1", first.revision)], {"part/1": b"c"})
    assert (first.succeeded, first.revision) == (True, 1)
    assert (second.succeeded, second.revision) == (True, 2)
    snapshot = await store.read("part/")
    assert snapshot.revision == 2
    assert {k: (v.value, v.revision) for k, v in snapshot.entries.items()} == {
        "part/1": (b"c", 2),
        "part/2": (b"b", 1),
    }


async def test_one_false_condition_undoes_everything(store: StateStore) -> None:
    await store.txn([], {"a": b"1"})
    result = await store.txn([("a", 1), ("b", 7)], {"a": b"2", "c": b"3"}, ["a2"])
    assert not result.succeeded
    assert result.revision == 1
    assert {key: kv.value for key, kv in result.current.items()} == {"a": b"1"}
    assert set((await store.read("")).entries) == {"a"}


async def test_revision_zero_means_absent_and_a_deleted_key_is_absent(store: StateStore) -> None:
    assert (await store.txn([("a", 0)], {"a": b"1"})).succeeded
    assert not (await store.txn([("a", 0)], {"a": b"2"})).succeeded
    assert (await store.txn([("a", 1)], {}, ["a"])).revision == 2
    assert (await store.txn([("a", 0)], {"a": b"3"})).revision == 3


async def test_a_transaction_that_changes_nothing_keeps_the_revision(store: StateStore) -> None:
    await store.txn([], {"a": b"1"})
    assert (await store.txn([("a", 1)], {})).revision == 1
    assert (await store.txn([], {}, ["absent"])).revision == 1


@pytest.mark.parametrize(
    ("conditions", "puts", "deletes", "message"),
    [
        ([], {"": b""}, [], "1 to 512 bytes"),
        ([], {"k" * 513: b""}, [], "1 to 512 bytes"),
        ([], {"k": b"x" * (256 * 1024 + 1)}, [], "limit is 262144"),
        ([], {"k": b""}, ["k"], "at most once"),
        ([("k", 1), ("k", 2)], {}, [], "at most once"),
        ([("k", -1)], {}, [], "revision"),
        ([], {str(n): b"" for n in range(TXN_OPERATIONS_MAX + 1)}, [], "split it"),
        ([(str(n), 0) for n in range(TXN_OPERATIONS_MAX + 1)], {}, [], "split it"),
    ],
)
async def test_bad_transactions_are_refused_whole(
    store: StateStore,
    conditions: list[tuple[str, int]],
    puts: dict[str, bytes],
    deletes: list[str],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        await store.txn(conditions, puts, deletes)
    assert (await store.read("")).revision == 0


async def test_of_many_racing_swaps_one_wins(store: StateStore) -> None:
    results = await asyncio.gather(
        *(store.txn([("counter", 0)], {"counter": str(n).encode()}) for n in range(50))
    )
    assert sum(result.succeeded for result in results) == 1


async def test_a_watch_begins_with_a_reread_and_then_joins_changes(store: StateStore) -> None:
    hints = store.watch("part/")
    assert (await anext(hints)).reread
    await store.txn([], {"part/1": b"a", "lease/x": b"-"})
    await store.txn([], {"part/1": b"b"})
    await store.txn([], {}, ["part/1"])
    await store.txn([], {"part/2": b"c"})
    hint = await anext(hints)
    assert not hint.reread
    assert {key: kv.value for key, kv in hint.entries.items()} == {"part/2": b"c"}
    assert hint.deleted == ("part/1",)


async def test_a_watcher_that_lags_is_told_to_reread_and_costs_bounded_memory() -> None:
    store = MemoryStateStore(GridConfig(watch_keys_max=2))
    hints = store.watch("")
    await anext(hints)
    for n in range(100):
        await store.txn([], {f"k{n}": b""})
    hint = await anext(hints)
    assert hint.reread
    assert not hint.entries
    await store.txn([], {"k": b""})
    assert set((await anext(hints)).entries) == {"k"}


async def test_watches_are_bounded() -> None:
    store = MemoryStateStore(GridConfig(watchers_max=1))
    first = store.watch("")
    await anext(first)
    with pytest.raises(TooManyWatchers):
        await anext(store.watch(""))
    await first.aclose()  # type: ignore[attr-defined]
    assert isinstance(await anext(store.watch("")), Hint)


async def test_incarnations_are_unique_among_racing_starts(store: StateStore) -> None:
    names = await asyncio.gather(*(next_incarnation(store, f"unit-{n}") for n in range(8)))
    assert sorted(int(name.rpartition("#")[2]) for name in names) == list(range(1, 9))


async def test_an_incarnation_in_doubt_is_skipped_not_reused() -> None:
    class Doubtful(MemoryStateStore):
        doubts = 1

        async def txn(self, conditions, puts, deletes=()):  # type: ignore[no-untyped-def]
            result = await super().txn(conditions, puts, deletes)
            if self.doubts:
                self.doubts -= 1
                raise StoreInDoubt("the answer was lost")
            return result

    assert await next_incarnation(Doubtful(CONFIG), "unit-1") == "unit-1#2"


async def test_unit_names_with_a_hash_are_refused() -> None:
    with pytest.raises(ValueError, match="#"):
        await next_incarnation(MemoryStateStore(CONFIG), "unit#1")


async def test_what_was_answered_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.sqlite"
    async with SqliteStateStore(path, CONFIG) as store:
        await asyncio.gather(*(store.txn([], {f"k{n}": b"v"}) for n in range(20)))
        await store.txn([], {}, ["k3"])
        before = await store.read("")
    async with SqliteStateStore(path, CONFIG) as store:
        assert await store.read("") == before
    assert sorted(p.name for p in path.parent.iterdir()) == ["state.sqlite", "state.sqlite.lock"]


async def test_waiting_transactions_share_one_commit(tmp_path: Path) -> None:
    async with SqliteStateStore(tmp_path / "s", CONFIG) as store:
        writes = 0
        write = store._file.write

        def counted(*args: object) -> None:
            nonlocal writes
            writes += 1
            write(*args)  # type: ignore[arg-type]

        store._file.write = counted  # type: ignore[method-assign,assignment]
        results = await asyncio.gather(*(store.txn([], {f"k{n}": b""}) for n in range(100)))
    assert writes <= 2
    assert [result.revision for result in results] == list(range(1, 101))


async def test_a_second_coordinator_cannot_open_the_file(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    async with SqliteStateStore(path, CONFIG) as store:
        with pytest.raises(StateFileError, match=f"in use by process {os.getpid()}") as caught:
            async with SqliteStateStore(path, CONFIG):
                pass
        assert "its own" in caught.value.hint
        assert (await store.txn([], {"a": b"1"})).succeeded
    lock = os.open(f"{path}.lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free again
    os.close(lock)


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough" * 100])
async def test_a_corrupt_file_is_an_error_that_says_what_to_do(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "state.sqlite"
    path.write_bytes(content)
    with pytest.raises(StateFileError) as caught:
        async with SqliteStateStore(path, CONFIG):
            pass
    assert "move the file away" in caught.value.hint
    assert path.read_bytes() == content


@pytest.mark.parametrize(("offset", "count"), [(0, 4096), (30, 1), (399, 1)])
async def test_damage_is_found_at_the_start(tmp_path: Path, offset: int, count: int) -> None:
    path = tmp_path / "state.sqlite"
    value = bytes(n % 251 for n in range(400))
    async with SqliteStateStore(path, CONFIG) as store:
        for n in range(50):
            await store.txn([], {f"key/{n}": value})
    data = bytearray(path.read_bytes())
    start = data.index(value) + offset
    damaged = bytes(byte ^ 1 for byte in data[start : start + count])
    data[start : start + count] = damaged
    path.write_bytes(data)
    with pytest.raises(StateFileError, match="corrupt") as caught:
        async with SqliteStateStore(path, CONFIG):
            pass
    assert "tupelo rebuild-state" in caught.value.hint


async def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs (x)")
    db.commit()
    db.close()
    before = path.read_bytes()
    with pytest.raises(StateFileError, match="not a tupelo state file"):
        async with SqliteStateStore(path, CONFIG):
            pass
    assert path.read_bytes() == before


async def test_a_file_of_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    async with SqliteStateStore(path, CONFIG):
        pass
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {FORMAT + 1}")
    db.close()
    with pytest.raises(StateFileError, match="format 2"):
        async with SqliteStateStore(path, CONFIG):
            pass


async def test_a_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StateFileError, match="cannot be opened") as caught:
        async with SqliteStateStore(tmp_path / "file" / "state.sqlite", CONFIG):
            pass
    assert "writable" in caught.value.hint


async def test_a_refused_write_is_certain_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    async with SqliteStateStore(path, CONFIG) as store:
        await store.txn([], {"a": b"1"})
        db = store._file._opened()
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreAway, match="full"):
            await store.txn([("a", 1)], {"a": b"x" * 100_000})
        assert (await store.read("")).entries["a"].value == b"1"
        assert (await store.txn([("a", 1)], {"a": b"2"})).revision == 2


async def test_after_a_write_in_doubt_the_file_is_read_again_before_any_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.sqlite"
    async with SqliteStateStore(path, CONFIG) as store:
        await store.txn([], {"a": b"1"})
        hints = store.watch("")
        await anext(hints)
        write = store._file.write

        def applied_but_broken(*args: object) -> None:
            write(*args)  # type: ignore[arg-type]
            store._file._opened().close()
            raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr(store._file, "write", applied_but_broken)
        with pytest.raises(StoreInDoubt):
            await store.txn([], {"a": b"2"})
        with pytest.raises(StoreAway):
            await store.read("")
        monkeypatch.setattr(store._file, "write", write)
        assert not (await store.txn([("a", 1)], {"a": b"3"})).succeeded  # it was applied
        assert (await store.read("")).entries["a"].value == b"2"
        assert (await anext(hints)).reread


async def test_while_the_file_cannot_be_read_again_everything_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.sqlite"
    async with SqliteStateStore(path, CONFIG) as store:
        await store.txn([], {"a": b"1"})
        store._file._opened().close()
        with pytest.raises(StoreInDoubt):
            await store.txn([], {"a": b"2"})

        def unreadable() -> MemoryState:
            raise sqlite3.OperationalError("unable to open database file")

        with monkeypatch.context() as broken:
            broken.setattr(store._file, "reopen", unreadable)
            for _ in range(2):
                with pytest.raises(StoreAway, match="cannot be read again"):
                    await store.txn([], {"a": b"3"})
        assert (await store.txn([("a", 1)], {"a": b"4"})).succeeded


async def test_a_commit_that_failed_after_it_was_durable_counts_as_done(tmp_path: Path) -> None:
    async with SqliteStateStore(tmp_path / "s", CONFIG) as store:
        write = store._file.write

        def fails_late(*args: object) -> None:
            write(*args)  # type: ignore[arg-type]
            raise sqlite3.OperationalError("disk I/O error")

        store._file.write = fails_late  # type: ignore[method-assign,assignment]
        assert (await store.txn([], {"a": b"1"})).succeeded
        assert (await store.read("")).entries["a"].value == b"1"


async def test_transactions_that_wait_are_bounded(tmp_path: Path) -> None:
    async with SqliteStateStore(tmp_path / "s", GridConfig(state_txns_max=2)) as store:
        results = await asyncio.gather(
            *(store.txn([], {f"k{n}": b""}) for n in range(10)), return_exceptions=True
        )
    assert any(isinstance(result, StoreAway) for result in results)
    assert sum(not isinstance(result, BaseException) for result in results) >= 2


async def test_a_closed_store_is_away(tmp_path: Path) -> None:
    async with SqliteStateStore(tmp_path / "s", CONFIG) as store:
        pass
    with pytest.raises(StoreAway):
        await store.read("")


def test_a_fork_is_independent() -> None:
    state = MemoryState()
    state.txn([], {"a": b"1"})
    fork = state.fork()
    fork.txn([], {"a": b"2"})
    assert state.read("").entries["a"].value == b"1"
    state.validate()
    fork.validate()


def test_a_state_file_is_replaced_only_where_it_is_damaged_and_the_old_one_is_kept(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state.sqlite"
    file = StateFile(path)
    assert file.replace({"a": b"1"}, 7) is None
    state = StateFile(path)
    assert state.open().read("").entries == {"a": KeyValue(b"1", 7)}
    assert state.revision() == 7
    with pytest.raises(StateFileError, match="in use"):
        file.replace({}, 8)
    state.close()
    with pytest.raises(StateFileError, match="is sound"):
        file.replace({}, 8)
    path.write_bytes(b"garbage" * 100)
    aside = file.replace({"b": b"2"}, 9)
    assert aside is not None
    assert aside.read_bytes() == b"garbage" * 100
    again = StateFile(path)
    assert again.open().read("").revision == 9
    again.close()
