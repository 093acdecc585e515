"""New copies made while journals spill: they get what is in files, and count when they have it."""

from __future__ import annotations

import pytest
from tupelo_grid.core import spill as core_spill
from tupelo_grid.core.pump_source import UnitPumpSource
from tupelo_grid.core.table import PartitionConfig

from tests.unit.spill_rig import Spilling, stored


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_spill, "EXTENT_BYTES", 2000)


@pytest.fixture
def cluster() -> Spilling:
    return Spilling()


def join(cluster: Spilling) -> None:
    config = cluster.table[0].config
    cluster.set(0, PartitionConfig(config.epoch, config.primary, config.in_sync, learner="c#3"))
    cluster.publish()


def test_a_learner_gets_what_is_in_files_a_piece_at_a_time(
    cluster: Spilling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core_spill, "INCOMING_BYTES_MAX", 3000)
    cluster.fill(1, 120)
    tail = cluster.held("a#1").spilled
    assert tail is not None
    extents = len(tail.extents)
    assert extents > 10
    join(cluster)
    waiting = []
    for _ in range(3 * extents):
        cluster.files["a#1"].read()
        cluster.settle()
        if "c#3" in cluster.table[0].config.in_sync:
            break
        waiting.append(sum(extent.size for extent in cluster.files["c#3"].spill._incoming))
        cluster.files["c#3"].write()
        cluster.tick()
    assert "c#3" in cluster.table[0].config.in_sync
    assert max(waiting) < 3000 + 2 * 2600, "received, and in no file"
    learner = cluster.held("c#3")
    assert learner.digest() == cluster.held("a#1").digest()
    learner.validate()
    assert learner.journal_after == 0
    ours = [record for _, record in stored(cluster, "a#1", 0)]
    cluster.dead |= {"a#1", "b#2"}
    cluster.set(0, PartitionConfig(2, "c#3", ("a#1", "b#2", "c#3")))
    cluster.publish()
    cluster.clock.seconds += 3
    cluster.tick()
    theirs = [record for _, record in stored(cluster, "c#3", 0)]
    assert theirs[: len(ours)] == ours


def test_a_learner_whose_disk_is_full_waits_and_joins_when_there_is_room(
    cluster: Spilling,
) -> None:
    cluster.fill(1, 100)
    cluster.files["c#3"].error = "no room"
    join(cluster)
    for _ in range(60):
        cluster.turn()
    assert "c#3" not in cluster.table[0].config.in_sync
    assert sum(extent.size for extent in cluster.files["c#3"].spill._incoming) < 8000
    cluster.files["c#3"].error = ""
    for _ in range(200):
        cluster.turn()
    assert "c#3" in cluster.table[0].config.in_sync
    assert cluster.held("c#3").digest() == cluster.held("a#1").digest()


def test_what_is_sent_goes_on_where_a_stream_broke_off(cluster: Spilling) -> None:
    """Also when the journals are full meanwhile: hardly anything is kept for it."""
    cluster.fill(1, 120)
    join(cluster)
    for _ in range(5):
        cluster.turn()
    arrived = dict(cluster.files["c#3"].held)
    assert len(arrived) >= 3
    assert "c#3" not in cluster.table[0].config.in_sync
    cluster.units["a#1"].link_down("c#3")
    cluster.tick()
    for _ in range(60):
        cluster.turn()
    assert "c#3" in cluster.table[0].config.in_sync
    learner = cluster.held("c#3")
    assert learner.spilled is not None
    files = [extent.file for extent in learner.spilled.extents]
    assert files[: len(arrived)] == list(arrived), "what it had was sent again"
    assert learner.digest() == cluster.held("a#1").digest()
    learner.validate()


def test_a_learner_that_is_full_joins_when_the_store_has_what_fills_it(cluster: Spilling) -> None:
    """Nobody else tells it that it may let go: it follows no journal yet."""
    cluster.fill(1, 100)
    cluster.files["c#3"].spill.bytes_max = 5000
    join(cluster)
    for _ in range(60):
        cluster.turn()
    assert "spill_bytes_max" in cluster.files["c#3"].spill.trouble
    assert "c#3" not in cluster.table[0].config.in_sync
    source = UnitPumpSource(cluster.units["a#1"])
    held = cluster.held("a#1")
    assert held.spilled is not None
    for stored_through in (held.spilled.extents[-2].after, held.commit):
        source.persisted(0, 1, stored_through)
        for _ in range(10):
            cluster.turn()
        assert "c#3" in cluster.table[0].config.in_sync
        cluster.held("c#3").validate()


def test_what_is_stored_while_a_learner_is_sent_it_is_left_out(cluster: Spilling) -> None:
    cluster.fill(1, 100)
    join(cluster)
    for _ in range(4):
        cluster.turn()
    tail = cluster.held("a#1").spilled
    assert tail is not None
    UnitPumpSource(cluster.units["a#1"]).persisted(0, 1, tail.extents[-2].through)
    for _ in range(40):
        cluster.turn()
    assert "c#3" in cluster.table[0].config.in_sync
    learner = cluster.held("c#3")
    learner.validate()
    assert learner.journal_after <= learner.persisted
