"""A backup that differs from its primary is found by its digest, and mended by a snapshot."""

from __future__ import annotations

import time

import pytest
from msgspec.structs import replace
from tupelo_grid.core import batch as kinds
from tupelo_grid.core.antientropy import SLICE_ENTRIES, Fingerprint
from tupelo_grid.core.frames import Ack, Frame, Position
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.records import WRITE
from tupelo_grid.core.unit import Unit
from tupelo_grid.transport.replication_codec import (
    decode_ack,
    decode_frame,
    encode_ack,
    encode_frame,
)

from tests.unit.test_core_unit import Cluster, one

INTERVAL_S = Limits().digest_interval_s


def filled(entries: int) -> Partition:
    partition = Partition(0)
    for number in range(1, entries + 1):
        key = number.to_bytes(4, "big")
        partition.append((WRITE, 7, number, 1, None, (("default", key, b"v", 0),)), 1)
    return partition


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster(("a", "b", "c"))
    for number in range(4):
        for op, key in enumerate((b"k1", b"k2", b"k3"), 1):
            cluster.run(number, one(kinds.PUT, number, key, b"value", op))
    return cluster


def rounds(cluster: Cluster, count: int = 1) -> None:
    """Until every primary has gone through its partitions so often."""
    for _ in range(count):
        cluster.tick(INTERVAL_S)
        for _ in range(40):
            cluster.tick()


def counts(cluster: Cluster, name: str) -> int:
    return sum(getattr(unit.audit.counts, name) for unit in cluster.alive())


def backup_of(cluster: Cluster, number: int) -> Unit:
    config = cluster.table[number].config
    return cluster.units[next(one for one in config.in_sync if one != config.primary)]


def test_equal_replicas_are_compared_and_found_equal(cluster: Cluster) -> None:
    rounds(cluster, 2)
    assert counts(cluster, "compared") == 8
    assert counts(cluster, "mismatches") == 0


def test_a_corrupt_entry_of_a_backup_is_found_and_mended(cluster: Cluster) -> None:
    backup = backup_of(cluster, 2)
    held = backup.replicas[2]
    entry = held.spaces["default"][b"k2"]
    held.spaces["default"][b"k2"] = replace(entry, value=b"rotten")
    rounds(cluster)
    primary = cluster.table[2].config.primary
    assert backup.audit.found == [(2, held.journal.last, primary)]
    assert counts(cluster, "mismatches") == 1
    mended = backup.replicas[2]
    assert mended is not held
    assert mended.spaces["default"][b"k2"] == entry
    assert mended.digest() == cluster.units[primary].replicas[2].digest()
    # It has been in sync all the time, takes what follows, and is not found again.
    assert backup.me in cluster.table[2].config.in_sync
    assert cluster.run(2, one(kinds.PUT, 2, b"k4", b"more", 4)).done
    assert backup.replicas[2].spaces["default"][b"k4"].value == b"more"
    rounds(cluster)
    assert counts(cluster, "mismatches") == 1


def test_a_forgotten_result_of_a_client_is_found_too(cluster: Cluster) -> None:
    backup = backup_of(cluster, 1)
    states = backup.replicas[1].sessions.states
    del states[7].results[max(states[7].results)]
    rounds(cluster)
    assert counts(cluster, "mismatches") == 1
    assert backup.replicas[1].sessions.states[7].results


def test_a_damaged_replica_is_kept_until_its_snapshot_has_come(cluster: Cluster) -> None:
    backup, primary = backup_of(cluster, 2), cluster.primary(2)
    held = backup.replicas[2]
    backup._receiver.damaged(2, primary.me)
    cluster.dead.add(primary.me)
    rounds(cluster)
    assert backup.replicas[2] is held  # it may be the last one
    cluster.dead.clear()
    rounds(cluster)
    assert backup.replicas[2] is not held
    assert backup.replicas[2].digest() == primary.replicas[2].digest()


def test_writes_in_between_cost_a_comparison_but_are_no_mismatch(cluster: Cluster) -> None:
    for number in range(300):
        key, value = b"k%d" % (number % 5), b"%d" % number
        cluster.primary(0).submit(one(kinds.PUT, 0, key, value, 10 + number))
        cluster.tick(1.0)
    assert counts(cluster, "compared") > 8
    assert counts(cluster, "mismatches") == 0


def test_a_partition_that_is_too_large_is_counted_and_passed_over(cluster: Cluster) -> None:
    for unit in cluster.units.values():
        unit.audit._limits = Limits(digest_entries_max=2)
    rounds(cluster)
    assert counts(cluster, "compared") == 0
    assert counts(cluster, "skipped") == 4


def test_a_fingerprint_in_slices_is_the_digest_of_its_moment() -> None:
    partition = filled(2 * SLICE_ENTRIES + 500)
    fingerprint, digest = Fingerprint(partition, results=True), partition.digest()
    slices = 0
    while fingerprint.digest is None:
        fingerprint.work()
        slices += 1
        key = slices.to_bytes(4, "big")
        partition.append((WRITE, 7, 9000 + slices, 1, None, (("default", key, b"x", 0),)), 1)
    assert slices == 3
    assert fingerprint.digest == digest != partition.digest()


def test_no_slice_takes_long() -> None:
    partition = filled(50_000)
    worst, started = 0.0, time.thread_time()
    fingerprint = Fingerprint(partition, results=False)
    while fingerprint.digest is None:
        worst = max(worst, time.thread_time() - started)
        started = time.thread_time()
        fingerprint.work()
    assert worst < 0.05  # 5 ms are meant; a machine that is busy otherwise is not to blame


def test_audits_and_damage_travel() -> None:
    frame = Frame("a", "b", 1, 2, audits=[(1, 3, 4, 5, 0), (2, 3, 4, 5, 2**64 - 1)])
    assert decode_frame(encode_frame(frame, b"g" * 16)) == frame
    ack = Ack("b", "a", 1, 2, positions=[Position(3, 4, True, 5, 5, [(1, 4)], True)])
    assert decode_ack(encode_ack(ack, b"g" * 16)) == ack
