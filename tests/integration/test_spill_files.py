"""Spilled records in real files: a thread beside the loop, a disk that fills, files that rot."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tupelo_grid.config import GridConfig
from tupelo_grid.core import spill as core_spill
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.spill import Spill
from tupelo_grid.journal_files.spill_files import DamagedSpill, SpillFiles
from tupelo_grid.journal_files.spill_writer import SpillWriter

from tests.integration.journal_rig import put
from tests.integration.small_disk import fill
from tests.pause import pause

CONFIG = GridConfig(spill_retry_s=0.02)
BOUND = 100_000


class Rig:
    """A backup's journal of one partition, above its bound."""

    def __init__(self, path: Path, bytes_max: int = 1 << 30) -> None:
        self.held = Partition(0)
        self.spill = Spill({0: self.held}, list, bytes_max)
        self.spill.spaces = frozenset({"carts"})
        self.files = SpillFiles(path)
        self.writer = SpillWriter(self.spill, self.files, CONFIG, self._after)
        self.moved = asyncio.Event()

    def _after(self) -> None:
        self.moved.set()

    def append(self, count: int) -> None:
        for _ in range(count):
            self.held.append(put(self.held.journal.last, 1000), 1)
        self.held.advance_commit(self.held.journal.last)
        self.held.validate()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.spill.tick({}, BOUND)
                await pause(0.005)
        self.held.validate()

    def bounded(self) -> bool:
        return self.held.journal.bytes <= BOUND

    def on_disk(self) -> int:
        return sum(path.stat().st_size for path in self.files.path.glob("*.spill"))

    async def read(self, after: int) -> list[int]:
        """The numbers of the records behind `after`, as the pump would get them."""
        found: list[int] = []
        while after < self.held.journal.base:
            assert self.held.spilled is not None
            rows = self.held.spilled.read(after, 50)
            if not rows:
                self.moved.clear()
                await asyncio.wait_for(self.moved.wait(), 10)
            for sequence, record in rows:
                found.append(record[2])
                after = sequence
        return found + [r[2] for r in self.held.journal.read(after, 100_000)]


@pytest.fixture(autouse=True)
def small_extents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_spill, "EXTENT_BYTES", 20_000)


async def test_what_went_to_files_is_read_back_and_the_files_go_when_it_is_stored(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path / "unit-1" / "unit-1#1")
    async with rig.writer:
        assert not rig.files.path.exists(), "nothing was spilled yet"
        rig.append(400)
        # Bounded is not yet at rest: the thread may just write one more that nobody counted yet.
        await rig.until(lambda: rig.bounded() and rig.spill.bytes == rig.on_disk())
        assert rig.on_disk() > 250_000
        assert await rig.read(0) == list(range(400))
        rig.held.persisted = 200
        assert rig.held.spilled is not None
        left = sum(1 for extent in rig.held.spilled.extents if extent.through > 200)
        await rig.until(lambda: len(list(rig.files.path.glob("*.spill"))) == left)
        assert await rig.read(200) == list(range(200, 400))
    assert not rig.files.path.exists(), "it means nothing to anybody else"


async def test_a_full_disk_keeps_records_in_memory_and_goes_on_when_there_is_room(
    small: Path,
) -> None:
    rig = Rig(small / "unit-1#1")
    async with rig.writer:
        ballast = fill(small, 60_000)
        rig.append(400)
        await rig.until(lambda: bool(rig.spill.trouble))
        assert "No space left" in rig.spill.trouble
        assert str(small) in rig.spill.trouble
        assert not rig.bounded()
        assert await rig.read(0) == list(range(400)), "nothing was let go of"
        ballast.unlink()
        # The small disk does not hold all of it either; what the store has makes room.
        rig.held.persisted = 250
        await rig.until(rig.bounded)
        assert rig.spill.trouble == ""
        assert await rig.read(250) == list(range(250, 400))


async def test_above_its_bound_nothing_more_is_written(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "unit-1#1", bytes_max=100_000)
    async with rig.writer:
        rig.append(400)
        await rig.until(lambda: bool(rig.spill.trouble))
        assert "spill_bytes_max=100000" in rig.spill.trouble
        assert rig.spill.bytes < 200_000
        assert await rig.read(0) == list(range(400))


async def test_a_file_that_rots_is_noticed_and_nobody_goes_past_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "unit-1#1")
    async with rig.writer:
        rig.append(400)
        await rig.until(rig.bounded)
        assert rig.held.spilled is not None
        first = rig.files.path / f"{rig.held.spilled.extents[0].file:012d}.spill"
        whole = first.read_bytes()
        first.write_bytes(whole[:700] + bytes([whole[700] ^ 1]) + whole[701:])
        assert rig.held.spilled.read(0, 10) == []
        await rig.until(lambda: bool(rig.spill.damaged))
        assert rig.held.spilled.read(0, 10) == []
        assert first.name in next(iter(rig.spill.damaged.values()))
        first.write_bytes(whole)
        await rig.until(lambda: not rig.spill.damaged)
        assert await rig.read(0) == list(range(400))


def test_the_next_process_removes_what_ended_ones_left(tmp_path: Path) -> None:
    """And leaves alone what one that only seems dead still holds."""
    dead, stopped, mine = (SpillFiles(tmp_path / f"unit-1#{n}") for n in (1, 2, 3))
    file, _ = dead.write(b"x")
    kept, _ = stopped.write(b"y")
    dead_lock = dead._lock
    os.close(dead_lock)
    mine.clear_others()
    assert not dead.path.exists()
    assert stopped.read(kept) == b"y"
    with pytest.raises(FileNotFoundError):
        dead.read(file)
    stopped.close()
    assert not stopped.path.exists()


def test_a_file_of_another_number_is_refused(tmp_path: Path) -> None:
    files = SpillFiles(tmp_path / "unit-1#1")
    one, _ = files.write(b"one")
    two, _ = files.write(b"two")
    (tmp_path / "unit-1#1" / f"{one:012d}.spill").replace(
        tmp_path / "unit-1#1" / f"{two:012d}.spill"
    )
    with pytest.raises(DamagedSpill, match="checksum"):
        files.read(two)
    files.close()
