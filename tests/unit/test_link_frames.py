"""How much a link puts into one frame."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from tupelo_grid.core import link as core_link
from tupelo_grid.core.frames import CatchUp, Frame, SnapshotChunk
from tupelo_grid.core.link import Link
from tupelo_grid.core.records import WRITE, Record

RECORD: Record = (WRITE, 1, 1, 0, None, "s", b"k", b"x" * 99, 0)


@dataclass(eq=False)
class Replica:
    partition: int
    epoch: int = 1
    generation: int = 0

    def settled(self, sequence: int) -> bool:
        return True


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Link:
    monkeypatch.setattr(core_link, "FRAME_BYTES_MAX", 1000)
    link = Link("a", "b")
    link.open(1)
    return link


def flushed(link: Link) -> Frame:
    frame = link.flush(1.0, 1.0)
    assert frame is not None
    return frame


def test_what_all_partitions_lack_after_a_break_goes_in_several_frames(link: Link) -> None:
    replicas = [Replica(number) for number in range(10)]
    for one in replicas:
        link.catch_ups.append((one, CatchUp(one.partition, 1, 0, 0, 0, [(1, 1)], [RECORD] * 3)))
    link.carried.append(replicas[0])
    link.sequences.append(4)
    link.records.append(RECORD)
    link.commits.append((0, 1, 4, 4))
    link.probes.append((9, 1, 1))
    frames = [flushed(link) for _ in range(3)]
    assert [len(frame.catch_ups) for frame in frames] == [4, 4, 2]
    assert frames[0].probes
    assert [frame.sequences for frame in frames] == [[], [], [4]], "after what leads up to it"
    assert [frame.commits for frame in frames] == [[], [], [(0, 1, 4, 4)]]
    assert not link.pending()
    marks = {one.partition: end for sent in link.in_flight for one, _, end in sent.marks}
    assert marks == {0: 4} | dict.fromkeys(range(1, 10), 3)


def test_the_chunks_of_one_snapshot_stay_together(link: Link) -> None:
    replicas = [Replica(number) for number in range(3)]
    for one in replicas:
        for index in range(4):
            chunk = SnapshotChunk(one.partition, 1, 7, index, index == 3, 0, b"x" * 300)
            link.snapshots.append((one, chunk))
    frames = [flushed(link) for _ in range(3)]
    assert [[c.partition for c in frame.snapshots] for frame in frames] == [
        [0] * 4,
        [1] * 4,
        [2] * 4,
    ]
    assert not link.pending()
