"""A disk that takes long for a batch: acknowledgements wait, signs of life do not."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any, cast

import pytest
from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.port import StateStore
from tupelo_grid.core.disk import Batch
from tupelo_grid.core.durable import DurableUnit
from tupelo_grid.core.frames import Ack
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.rejoin import Place
from tupelo_grid.runtime.disk import Journaling, Opened

from tests.integration.journal_rig import Journal, put
from tests.pause import pause
from tests.unit.test_core_unit import SPACES, CountingCommands, FakeClock


async def test_while_the_disk_is_at_work_primaries_hear_what_they_have_heard_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, goes_on = Place("b#2"), threading.Event()
    told: list[Ack] = []
    with Journal(tmp_path / "journal", partitions=0) as files:
        real = files.log.write

        def slow(batch: Batch, sync: bool) -> None:
            if batch.number > 1:
                goes_on.wait(20)
            real(batch, sync)

        monkeypatch.setattr(files.log, "write", slow)
        unit = DurableUnit(place, {}, FakeClock(), Limits(), CountingCommands(), SPACES)
        opened = Opened(place, {}, files.log)
        journal = Journaling(unit, opened, cast("StateStore", None), GridConfig())
        async with journal.writer as writer:
            held = unit.replicas[0] = Partition(0)

            async def record(position: int) -> None:
                held.append(put(position), 1)
                journal.hold(Ack("b#2", "a#1", 7, position), told.append)
                writer.kick()

            async def until(condition: Any) -> None:
                async with asyncio.timeout(10):
                    while not condition():
                        await pause(0.005)

            await record(3)
            await until(lambda: told)
            await record(4)
            await until(lambda: writer.at_work)
            journal.signs_of_life()
            assert [(ack.stream_id, ack.position) for ack in told] == [(7, 3), (7, 3)]
            unit.disk.trouble = "the disk is full"
            journal.signs_of_life()
            assert len(told) == 2, "who waits for room is silent, and taken out of the set"
            unit.disk.trouble = ""
            goes_on.set()
            await until(lambda: len(told) == 3)
            assert told[-1].position == 4
            await until(lambda: not writer.at_work)
            journal.signs_of_life()
            assert len(told) == 3
