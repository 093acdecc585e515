"""The sync client: the same behaviour, with threads."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tupelo
from tupelo import ClientConfig, Versioned
from tupelo._sync.lane import Waiter
from tupelo.errors import (
    ApplicationError,
    ConnectionLost,
    DeadlineExceeded,
    InvalidArgument,
    NotReady,
    OutcomeUnknown,
    Overloaded,
    ResultCode,
)
from tupelo.sync import Grid

from tests.fake_grid import COPIES, FakeGrid, free_port
from tests.faults import QUICK, key_of, set_fault

ROOT = Path(__file__).resolve().parent.parent.parent


class FakeInThread:
    """A fake grid on an event loop of its own, so that tests may block."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.grid: FakeGrid = self.run(self._start())

    async def _start(self) -> FakeGrid:
        return await FakeGrid().__aenter__()

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def gates(self, *, up: bool) -> None:
        async def swing() -> None:
            for unit in self.grid.units:
                if up:
                    unit.gate.set()
                else:
                    unit.gate.clear()

        self.run(swing())

    def close(self) -> None:
        self.run(self.grid.__aexit__())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture
def thread() -> Iterator[FakeInThread]:
    fake = FakeInThread()
    yield fake
    fake.close()


@pytest.fixture
def fake(thread: FakeInThread) -> FakeGrid:
    return thread.grid


@pytest.fixture
def grid(fake: FakeGrid) -> Iterator[Grid]:
    with tupelo.sync.connect(fake.seed, config=QUICK, stall_s=0.3) as connected:
        yield connected


def test_spaces_work_as_in_the_async_client(grid: Grid) -> None:
    space = grid.space("default")
    written = space.put("a", {"x": 1})
    assert written.copies == COPIES
    assert space.get("a") == {"x": 1}
    assert space.entry("a") == Versioned({"x": 1}, written.version)
    assert space.put_if_absent("a", 2) is None
    assert space.compare_and_set("a", 3, version=written.version) is not None
    assert space.delete("a", version=written.version) is None
    assert space.delete("a") is not None
    assert not space.contains("a")
    rows = {f"key-{number}": number for number in range(500)}
    assert space.put_many(rows).entries == 500
    assert space.get_many([*rows, "absent"]) == rows
    assert space.count() == 500
    assert {item.key: item.value for item in space.scan(page_size=7)} == rows
    space.delete_many(rows)
    assert space.count() == 0
    with pytest.raises(InvalidArgument):
        space.put("a", object())


def test_commands_spaces_and_status(fake: FakeGrid, grid: Grid) -> None:
    fake.commands["ticketing.hold"] = lambda arguments: arguments["number"]
    assert grid.call("ticketing.hold", route="e1", number=7) == 7
    fake.commands["ticketing.hold"] = lambda arguments: ("Sold", "gone", {})
    with pytest.raises(ApplicationError, match="gone"):
        grid.call("ticketing.hold", route="e1", number=7)
    grid.create_space("carts", ttl_s=60).put("ann", 1)
    assert grid.status().version == "fake"


def test_concurrent_threads_share_frames(
    fake: FakeGrid, thread: FakeInThread, grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = grid.space("default")
    followers = threading.Semaphore(0)
    wait = Waiter.wait

    def counted(waiter: Waiter, timeout_s: float) -> bool:
        followers.release()
        return wait(waiter, timeout_s)

    monkeypatch.setattr(Waiter, "wait", counted)
    thread.gates(up=False)
    with ThreadPoolExecutor(48) as pool:
        leaders = [pool.submit(space.put, key_of(fake, unit), 0) for unit in fake.units]
        for unit in fake.units:
            thread.run(unit.arrived(1))
        calls = [pool.submit(space.put, f"call-{number}", number) for number in range(45)]
        for _ in calls:
            assert followers.acquire(timeout=10)
        thread.gates(up=True)
        assert {call.result().copies for call in leaders + calls} == {COPIES}
    assert [unit.frames for unit in fake.units] == [2, 2, 2]
    assert len(fake.entries()) == 48


@pytest.mark.parametrize("fault", ["drop", "lose", "garble", ResultCode.OUTCOME_UNKNOWN])
def test_a_retry_keeps_its_token_and_takes_effect_once(
    fake: FakeGrid, grid: Grid, fault: int | str
) -> None:
    space = grid.space("default")
    set_fault(fake, 2, fault)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: space.put(f"key-{number}", number), range(100)))
    set_fault(fake, 2, fault)
    space.put_many({f"bulk-{number}": number for number in range(100)})
    assert len(fake.entries()) == 200
    assert fake.most_applications() == 1
    groups = len({token for part in fake.parts for token in part.applications}) - 100
    assert sum(part.sequence for part in fake.parts) == 100 + groups


def test_partitions_that_move_are_followed(fake: FakeGrid, grid: Grid) -> None:
    space = grid.space("default")
    rows = {f"key-{number}": number for number in range(100)}
    space.put_many(rows)
    for partition in range(fake.partitions):
        fake.move(partition, fake.units[(partition + 1) % 3])
    assert [space.get(key) for key in rows] == list(rows.values())
    assert space.get_many(rows) == rows


def test_a_unit_that_dies_is_replaced_without_an_error(
    fake: FakeGrid, thread: FakeInThread, grid: Grid
) -> None:
    space = grid.space("default")
    dead = fake.units[2]
    written: dict[str, int] = {}
    lock, warm = threading.Lock(), threading.Event()

    def write(worker: int) -> None:
        for number in range(60):
            space.put(f"{worker}-{number}", number)
            with lock:
                written[f"{worker}-{number}"] = number
                if len(written) > 100:
                    warm.set()

    with ThreadPoolExecutor(8) as pool:
        workers = [pool.submit(write, worker) for worker in range(8)]
        warm.wait(10)
        thread.run(dead.stop())
        fake.fail_over(dead)
        for worker in workers:
            worker.result(20)
    assert fake.most_applications() == 1
    assert space.get_many(written) == written


def test_a_deadline_leaves_a_sent_write_unknown_and_a_read_not_done(
    thread: FakeInThread, grid: Grid
) -> None:
    space = grid.space("default")
    thread.gates(up=False)
    with ThreadPoolExecutor(3) as pool:
        write = pool.submit(space.put, "a", 1, timeout_s=0.1)
        bulk = pool.submit(space.put_many, {"b": 1}, timeout_s=0.1)
        read = pool.submit(space.get_many, ["c"], timeout_s=0.1)
        with pytest.raises(OutcomeUnknown):
            write.result(5)
        with pytest.raises(OutcomeUnknown):
            bulk.result(5)
        with pytest.raises(DeadlineExceeded):
            read.result(5)
    thread.gates(up=True)


def test_a_follower_keeps_its_own_deadline(
    fake: FakeGrid, thread: FakeInThread, grid: Grid
) -> None:
    space = grid.space("default")
    unit = fake.units[0]
    key = key_of(fake, unit)
    thread.gates(up=False)
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(space.put, key, 1)
        thread.run(unit.arrived(1))
        follower = pool.submit(space.put, key, 2, timeout_s=0.05)
        with pytest.raises(DeadlineExceeded, match="before it could be sent"):
            follower.result(5)
        thread.gates(up=True)
        leader.result(5)
    assert fake.most_applications() == 1


def test_a_silent_unit_is_left_for_the_one_its_partitions_moved_to(
    fake: FakeGrid, thread: FakeInThread, grid: Grid
) -> None:
    space = grid.space("default")
    silent = fake.units[1]
    thread.gates(up=False)
    with ThreadPoolExecutor(1) as pool:
        write = pool.submit(space.put, key_of(fake, silent), 1)
        thread.run(silent.arrived(1))
        for unit in (fake.units[0], fake.units[2]):
            thread.loop.call_soon_threadsafe(unit.gate.set)
        fake.fail_over(silent)
        assert write.result(5).copies == COPIES


def test_codes_that_stay_and_budgets_that_end(fake: FakeGrid) -> None:
    config = ClientConfig(
        backoff_base_s=0.001, backoff_max_s=0.002, retry_burst=10, retry_ratio=0.1, retry_per_s=1
    )
    with tupelo.sync.connect(fake.seed, config=config) as grid:
        space = grid.space("default")
        set_fault(fake, 10_000, ResultCode.NOT_READY)
        with pytest.raises(NotReady):
            space.put("a", 1)
        set_fault(fake, 10_000, ResultCode.OVERLOADED)
        with pytest.raises(Overloaded, match="budget is spent"):
            space.put("a", 1)


def test_a_closed_grid_and_one_that_is_not_there_say_so(fake: FakeGrid) -> None:
    grid = tupelo.sync.connect(fake.seed)
    space = grid.space("default")
    grid.close()
    grid.close()
    with pytest.raises(ConnectionLost, match="closed"):
        space.get("a")
    with pytest.raises(ConnectionLost, match="no grid answered"):
        tupelo.sync.connect(f"127.0.0.1:{free_port()}", connect_timeout_s=0.2)


GEVENT = """
import gevent.monkey
gevent.monkey.patch_all()
import grpc.experimental.gevent
grpc.experimental.gevent.init_gevent()
import sys, time
import gevent
import tupelo
with tupelo.sync.connect(sys.argv[1]) as grid:
    space = grid.space("default")
    ticks = []
    def tick():
        while True:
            ticks.append(1)
            gevent.sleep(0.001)
    ticker = gevent.spawn(tick)
    jobs = [gevent.spawn(space.put, f"key-{n}", n) for n in range(100)]
    gevent.joinall(jobs, raise_error=True)
    space.put_many({f"bulk-{n}": n for n in range(100)})
    assert space.count() == 200, space.count()
    ticker.kill()
    print(len(ticks))
"""


def test_it_works_under_gevent_without_blocking_other_greenlets(fake: FakeGrid) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GEVENT, fake.seed],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1
    assert sum(unit.frames for unit in fake.units) < 60
    assert len(fake.entries()) == 200
