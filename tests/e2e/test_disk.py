"""Grids with journals on disk: a disk that fills, a file that is damaged."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import tupelo
from tupelo.errors import DeadlineExceeded, OutcomeUnknown, Overloaded

from tests.e2e.grids import Grid

SIZE = 4 * 1024 * 1024


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of SIZE bytes; mounting takes root."""
    path = tmp_path / "small"
    path.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(path))
    subprocess.run(mount, check=True, timeout=10)
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True, timeout=10)


async def test_a_full_disk_stops_writes_with_words_and_they_go_on_when_there_is_room(
    small: Path, tmp_path: Path
) -> None:
    grid = await asyncio.to_thread(
        Grid.start,
        tmp_path,
        *("--space", "carts", "--set", "durability=disk", "--set", f"disk_dir={small}"),
        units=2,
    )
    try:
        before = grid.processes()
        acknowledged: list[str] = []
        refused: list[str] = []
        async with await tupelo.connect(grid.address) as client:
            carts = client.space("carts")

            async def put(number: int) -> None:
                try:
                    await carts.put(f"k{number}", "x" * 1000, timeout_s=3)
                except (OutcomeUnknown, DeadlineExceeded):
                    return  # nobody can know yet, as the disk has no room, or it was not sent
                except Overloaded as error:
                    refused.append(error.message)
                else:
                    acknowledged.append(f"k{number}")

            for number in range(20):
                await put(number)
            assert len(acknowledged) == 20
            room = os.statvfs(small)
            ballast = small / "ballast"
            ballast.write_bytes(bytes(room.f_bavail * room.f_frsize - 64 * 1024))
            number = 20
            async with asyncio.timeout(40):
                while not refused:
                    await asyncio.gather(*map(put, range(number, number + 50)))
                    number += 50
            assert "the disk is full" in refused[0]
            assert "free some space" in refused[0]
            # But for partitions with writes that are not acknowledged, reads go on.
            reads = [carts.get(key, timeout_s=3) for key in acknowledged]
            told = await asyncio.gather(*reads, return_exceptions=True)
            assert "x" * 1000 in told
            status = await asyncio.to_thread(grid.status)
            assert any("its disk takes no more" in text for text in status["warnings"])
            ballast.unlink()
            before_room = len(acknowledged)
            async with asyncio.timeout(40):
                while len(acknowledged) == before_room:
                    await put(number)
                    number += 1
        assert {n: r.pid for n, r in grid.processes().items()} == {
            n: r.pid for n, r in before.items()
        }
        for name in before:
            grid.kill(name)
        again = await asyncio.to_thread(grid.up)
        assert again.returncode == 0, again.stderr
        await asyncio.to_thread(grid.until_healthy, 2)
        async with await tupelo.connect(grid.address) as client:
            carts = client.space("carts")
            found = await carts.get_many(acknowledged)
        assert [key for key in acknowledged if found.get(key) != "x" * 1000] == []
    finally:
        await asyncio.to_thread(grid.stop)


async def test_a_damaged_journal_is_refused_with_its_place_and_never_guessed(
    tmp_path: Path,
) -> None:
    grid = await asyncio.to_thread(
        Grid.start, tmp_path, "--space", "carts", "--set", "durability=disk", units=2
    )
    try:
        async with await tupelo.connect(grid.address) as client:
            await client.space("carts").put_many({f"k{n}": n for n in range(500)})
        for name in list(grid.processes()):
            grid.kill(name)
        [file, *_] = sorted((tmp_path / "grid" / "journal" / "unit-2").glob("*.journal"))
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        again = await asyncio.to_thread(grid.up)
        assert again.returncode != 0
        assert f"{file} is damaged at offset" in again.stderr
        assert "move the folder away" in again.stderr
        # As the message says: then unit-2 begins empty, and unit-1 has everything.
        file.parent.rename(tmp_path / "away")
        again = await asyncio.to_thread(grid.up)
        assert again.returncode == 0, again.stderr
        await asyncio.to_thread(grid.until_healthy, 2)
        async with await tupelo.connect(grid.address) as client:
            assert await client.space("carts").count() == 500
    finally:
        await asyncio.to_thread(grid.stop)
