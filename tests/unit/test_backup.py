"""What a backup takes in from streams, by whose leave."""

from __future__ import annotations

import zlib

from tupelo_grid.core.backup import Receiver
from tupelo_grid.core.frames import CatchUp, Frame, SnapshotChunk
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.snapshot import Snapshot


def receiver():
    return Receiver("b#1", {}, {}, lambda number, epoch: None)


def frame(position, **parts):
    return Frame("a#1", "b#1", 1, position, **parts)


def catch_up():
    return CatchUp(0, 1, 0, 0, 0, [], [])


def chunk():
    body = next(iter(Snapshot(Partition(0)).chunks()))
    return SnapshotChunk(0, 1, 1, 0, True, zlib.crc32(body), body)


def test_what_comes_after_the_replica_was_dropped_makes_no_new_one():
    for late in ({"catch_ups": [catch_up()]}, {"snapshots": [chunk()]}):
        backup = receiver()
        backup.receive(frame(1, probes=[(0, 1, 5)]))
        backup.drop(0, 6)
        ack = backup.receive(frame(2, **late))
        assert backup.replicas == {}
        assert [(one.partition, one.refused) for one in ack.positions] == [(0, True)]


def test_a_member_by_a_newer_table_takes_in_again():
    for new in ({"catch_ups": [catch_up()]}, {"snapshots": [chunk()]}):
        backup = receiver()
        backup.receive(frame(1, probes=[(0, 1, 5)]))
        backup.drop(0, 6)
        ack = backup.receive(frame(2, probes=[(0, 1, 7)], **new))
        assert list(backup.replicas) == [0]
        assert [(one.partition, one.refused) for one in ack.positions] == [(0, False)]
