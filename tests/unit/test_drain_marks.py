"""What a unit says when it stops, against what the store really has."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from msgspec.structs import replace
from tupelo.schema import SpaceSchema
from tupelo_grid.config import GridConfig
from tupelo_grid.core import batch as kinds
from tupelo_grid.core.pump_frames import Answer, PumpAck, PumpFrame
from tupelo_grid.core.pump_source import UnitPumpSource
from tupelo_grid.core.table import DRAINED_PREFIX, decode_drained
from tupelo_grid.messaging.pump import DataPump
from tupelo_grid.runtime import leaving

from tests.unit.test_core_unit import Cluster, one


async def no_letters(_: Sequence[int]) -> bool:
    return False


def claimed(frame: PumpFrame | None) -> PumpAck:
    assert frame is not None
    return PumpAck(frame.position, [(p, e, 0, Answer.CLAIMED) for p, e in frame.claims])


def persisted(frame: PumpFrame | None) -> PumpAck:
    assert frame is not None
    return PumpAck(
        frame.position,
        [(b.partition, b.epoch, b.to_sequence, Answer.PERSISTED) for b in frame.batches],
    )


async def test_a_partition_handed_over_at_the_last_moment_is_stored_before_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The store has the last of b's own partition; before b's pump looks again, a, which stops
    too, has handed its partition over."""
    monkeypatch.setattr(leaving, "_no_letters", no_letters)
    cluster = Cluster(["a#1", "b#2"], partitions=2)
    unit = cluster.units["b#2"]
    cluster.run(0, one(kinds.PUT, 0, value=b"acknowledged", op=1))
    cluster.run(1, one(kinds.PUT, 1, value=b"x", op=2))
    pump = DataPump(GridConfig(), UnitPumpSource(unit), "b#2", b"0" * 16, cluster.clock, {})
    core, now = pump.core, cluster.clock.now

    async def last_steps() -> dict[str, bytes]:
        left = await pump.drain(5.0)
        schemas = {"default": SpaceSchema("default")}
        return await leaving.last_words(GridConfig(), unit, schemas, drained=not left)

    words = asyncio.create_task(last_steps())
    await asyncio.sleep(0)
    core.on_ack(claimed(core.next_frame(now(), flush=True)))
    frame = core.next_frame(now(), flush=True)
    cluster.set(0, replace(cluster.table[0].config, next_primary="b#2"))
    cluster.publish()
    assert cluster.table[0].config.primary == "b#2"
    assert unit.primaries[0].ready
    core.on_ack(persisted(frame))
    pump._changes.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not words.done(), "the store has nothing of partition 0 yet"

    core.on_ack(claimed(core.next_frame(now(), flush=True)))
    core.on_ack(persisted(core.next_frame(now(), flush=True)))
    pump._changes.set()
    named = decode_drained((await words)[f"{DRAINED_PREFIX}b#2"])
    assert named == {0: 2, 1: 1}
    assert unit.replicas[0].persisted == unit.replicas[0].commit
