"""A disk without room: a small tmpfs that fills, and has room again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tupelo_grid.config import GridConfig
from tupelo_grid.core.disk_segments import Segments
from tupelo_grid.journal_files.folder import Folder
from tupelo_grid.journal_files.log import DiskFull
from tupelo_grid.journal_files.recovery import recover
from tupelo_grid.journal_files.writer import DiskFailed, JournalWriter

from tests.integration.journal_rig import Journal, put, read
from tests.integration.small_disk import fill
from tests.pause import pause


@pytest.mark.parametrize("segment_bytes", [1 << 20, 8192])
def test_a_batch_without_room_leaves_nothing_and_goes_through_later(
    small: Path, segment_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a file ended within the batch and the next one was begun."""
    monkeypatch.setattr("tupelo_grid.core.disk.BLOCK_BYTES", 4096)
    with Journal(small / "journal", segment_bytes=segment_bytes) as journal:
        journal.run(20)
        told = dict(journal.told)
        ballast = fill(small, 32 * 1024)
        journal.append(400, size=200)
        batch = journal.disk.collect()
        assert batch is not None
        for _ in range(3):
            with pytest.raises(DiskFull):
                journal.log.write(batch, sync=True)
            found = read_beside(small / "journal")
            assert found == told
        ballast.unlink()
        journal.log.write(batch, sync=True)
        journal.disk.done(batch)
        journal.run(20)
    found = read(small / "journal").partitions
    assert {n: p.digest() for n, p in found.items()} == {
        n: p.digest() for n, p in journal.replicas.items()
    }


def read_beside(path: Path) -> dict[int, int]:
    """What a restart would find, without taking the running journal's lock."""
    folder = Folder(path)
    found = recover(folder, Segments(1 << 20, 1 << 20))
    return {number: held.journal.last for number, held in found.partitions.items()}


async def until(condition: object, event: asyncio.Event) -> None:
    async with asyncio.timeout(10):
        while not condition():  # type: ignore[operator]
            event.clear()
            await event.wait()


async def test_acknowledgements_stop_with_an_error_and_go_on_when_there_is_room(
    small: Path,
) -> None:
    config = GridConfig(disk_retry_s=0.02)
    told: list[int] = []
    with Journal(small / "journal") as journal:
        held, disk = journal.replicas[0], journal.disk
        moved = asyncio.Event()
        async with JournalWriter(disk, journal.log, config, lambda numbers: None) as writer:
            journal.append(10)
            disk.hold(lambda: (told.append(1), moved.set()))  # type: ignore[arg-type]
            writer.kick()
            await until(lambda: told == [1], moved)
            ballast = fill(small, 4096)
            journal.append(400, size=200)
            disk.hold(lambda: (told.append(2), moved.set()))  # type: ignore[arg-type]
            writer.kick()
            async with asyncio.timeout(10):
                while not disk.trouble:
                    await pause(0.01)
            assert "the disk is full" in disk.trouble
            assert "free some space" in disk.trouble
            assert told == [1]
            assert disk.durable(held) == 10
            ballast.unlink()
            await until(lambda: told == [1, 2], moved)
            assert disk.trouble == ""
            assert disk.durable(held) == 410
    assert read(small / "journal").partitions[0].journal.last == 410


async def test_a_unit_that_stops_while_the_disk_is_full_is_not_held_up(small: Path) -> None:
    config = GridConfig(disk_retry_s=10.0)
    with Journal(small / "journal") as journal:
        disk = journal.disk
        async with asyncio.timeout(5):
            async with JournalWriter(disk, journal.log, config, lambda numbers: None) as writer:
                fill(small, 4096)
                journal.append(400, size=200)
                writer.kick()
                while not disk.trouble:
                    await pause(0.01)


async def test_a_disk_that_fails_ends_the_unit(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        disk = journal.disk
        async with JournalWriter(disk, journal.log, GridConfig(), lambda numbers: None) as writer:
            journal.append(1)
            journal.log.close()
            writer.kick()
            with pytest.raises(DiskFailed, match="Bad file descriptor"):
                await asyncio.wait_for(asyncio.shield(writer.failed), 5)
            journal.replicas[0].append(put(2), 1)
            writer.kick()
        assert disk.durable(journal.replicas[0]) == 0


async def test_above_its_bound_the_journal_takes_no_more(tmp_path: Path) -> None:
    config = GridConfig(disk_bytes_max=20_000)
    with Journal(tmp_path / "journal") as journal:
        disk, synced = journal.disk, asyncio.Event()
        async with JournalWriter(disk, journal.log, config, lambda numbers: synced.set()) as writer:
            journal.append(10)
            writer.kick()
            await asyncio.wait_for(synced.wait(), 5)
            assert disk.trouble == ""
            synced.clear()
            journal.append(40, size=1000)
            writer.kick()
            await asyncio.wait_for(synced.wait(), 5)
            assert "more than disk_bytes_max=20000" in disk.trouble
