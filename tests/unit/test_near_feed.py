"""The cursors that near caches are told from."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from tupelo_grid.core import batch as kinds
from tupelo_grid.core.near import NearColumns, NearFeed, NearLimits
from tupelo_grid.core.near_source import UnitNearSource
from tupelo_grid.core.records import WRITE, Record

from tests.unit.test_core_unit import Cluster, one

LIMITS = NearLimits(records_max=100, bytes_max=1000, lag_records_max=50)


class Journals:
    """Partitions 0 to n-1, all of them served."""

    def __init__(self, partitions: int) -> None:
        self.epochs = dict.fromkeys(range(partitions), 1)
        self.records: dict[int, list[Record]] = {number: [] for number in self.epochs}
        self.bases = dict.fromkeys(self.epochs, 0)
        self.uncommitted = 0
        self.lease = True

    def write(self, partition: int, *keys: bytes, space: str = "a") -> None:
        mutations = tuple([(space, key, b"v", 0) for key in keys])
        self.records[partition].append((WRITE, 1, 1, 0, None, mutations))

    def serving(self) -> dict[int, int]:
        return self.epochs

    def leased(self) -> bool:
        return self.lease

    def committed(self, partition: int) -> int:
        return len(self.records[partition]) - self.uncommitted

    def base(self, partition: int) -> int:
        return self.bases[partition]

    def read(self, partition: int, after: int, limit: int) -> Sequence[Record]:
        assert after + limit <= self.committed(partition), "an uncommitted record was asked for"
        return self.records[partition][after : after + limit]


def sections(columns: NearColumns | None) -> list[tuple[int, int, int, bool, dict[bytes, int]]]:
    """(partition, after, through, reset, versions by key) of a frame's sections."""
    assert columns is not None
    found, place = [], 0
    for index, partition in enumerate(columns.partitions):
        end = place + columns.counts[index]
        keys = dict(zip(columns.keys[place:end], columns.versions[place:end], strict=True))
        after, through = columns.after[index], columns.through[index]
        found.append((partition, after, through, bool(columns.resets[index]), keys))
        place = end
    return found


def opened(journals: Journals, limits: NearLimits = LIMITS, *spaces: str) -> NearFeed:
    feed = NearFeed(journals, spaces or ("a",), limits)
    feed.ask(1)
    columns = feed.frame()
    assert columns is not None
    assert columns.echo == 1
    assert all(columns.resets)
    return feed


def test_the_first_frame_is_complete_and_where_the_journals_end() -> None:
    journals = Journals(2)
    journals.write(1, b"k")
    feed = NearFeed(journals, ("a",), LIMITS)
    feed.ask(1)
    assert sections(feed.frame()) == [(0, 0, 0, True, {}), (1, 1, 1, True, {})]
    assert feed.frame() is None


def test_changes_of_the_named_spaces_come_once_a_key_and_join_without_a_gap() -> None:
    journals = Journals(2)
    feed = opened(journals)
    journals.write(0, b"k", b"l")
    journals.write(0, b"k")
    journals.write(0, b"other", space="b")
    feed.look([0])
    assert sections(feed.frame()) == [(0, 0, 3, False, {b"k": 2, b"l": 1})]
    journals.write(0, b"m")
    feed.look([0, 1])
    assert sections(feed.frame()) == [(0, 3, 4, False, {b"m": 4})]
    assert feed.frame() is None


def test_what_is_not_committed_is_not_told() -> None:
    journals = Journals(1)
    feed = opened(journals)
    journals.write(0, b"k")
    journals.uncommitted = 1
    feed.look([0])
    assert feed.frame() is None
    journals.uncommitted = 0
    feed.look([0])
    assert sections(feed.frame()) == [(0, 0, 1, False, {b"k": 1})]


def test_an_echo_has_every_partition_up_to_its_end() -> None:
    journals = Journals(3)
    feed = opened(journals)
    journals.write(2, b"k")
    feed.ask(7)
    columns = feed.frame()
    assert columns is not None
    assert columns.echo == 7
    assert sorted(sections(columns)) == [
        (0, 0, 0, False, {}),
        (1, 0, 0, False, {}),
        (2, 0, 1, False, {b"k": 1}),
    ]


def test_an_echo_waits_until_the_frames_before_it_have_told_everything() -> None:
    journals = Journals(2)
    feed = opened(journals, NearLimits(records_max=3, bytes_max=1000, lag_records_max=50))
    for _ in range(4):
        journals.write(0, b"k")
        journals.write(1, b"l")
    feed.ask(2)
    frames = [feed.frame() for _ in range(3)]
    assert [frame.echo for frame in frames if frame] == [0, 0, 2]
    assert sorted({one[0] for one in sections(frames[-1])}) == [0, 1]
    assert [one[2] for one in sorted(sections(frames[-1]))] == [4, 4]


def test_without_a_lease_nothing_is_echoed_but_changes_are_told() -> None:
    journals = Journals(1)
    feed = opened(journals)
    journals.lease = False
    feed.ask(2)
    assert feed.frame() is None
    journals.write(0, b"k")
    feed.ask(3)
    columns = feed.frame()
    assert columns is not None
    assert columns.echo == 0
    assert columns.keys == [b"k"]


def test_a_cursor_too_far_back_or_before_the_journal_jumps_with_a_reset() -> None:
    journals = Journals(2)
    feed = opened(journals)
    for _ in range(51):
        journals.write(0, b"k")
    journals.write(1, b"l")
    journals.write(1, b"l")
    journals.bases[1] = 1
    feed.look([0, 1])
    assert sections(feed.frame()) == [(0, 51, 51, True, {}), (1, 2, 2, True, {})]


def test_more_keys_than_a_frame_may_have_are_a_reset() -> None:
    journals = Journals(1)
    feed = opened(journals)
    journals.write(0, *[b"%030d" % number for number in range(30)])
    feed.look([0])
    assert sections(feed.frame()) == [(0, 1, 1, True, {})]


def test_a_new_epoch_is_a_reset_and_a_lost_role_is_absent_from_the_echo() -> None:
    journals = Journals(2)
    feed = opened(journals)
    journals.epochs[0] = 2
    del journals.epochs[1]
    feed.ask(2)
    assert sections(feed.frame()) == [(0, 0, 0, True, {})]
    journals.epochs[1] = 1
    feed.ask(3)
    assert sections(feed.frame()) == [(1, 0, 0, True, {}), (0, 0, 0, False, {})]


def near(cluster: Cluster, number: int, key: bytes = b"k") -> tuple[int, int, list[object]]:
    pending = cluster.run(number, one(kinds.GET_NEAR, number, key))
    return pending.codes[0], pending.versions[0], msgspec.msgpack.decode(pending.values[0])


def test_a_unit_tells_what_is_committed_and_answers_near_reads_as_of_a_record() -> None:
    cluster = Cluster(["u1", "u2", "u3"])
    unit = cluster.primary(0)
    feed = NearFeed(UnitNearSource(unit), ["default", "brief"], LIMITS)
    feed.ask(1)
    start = {one[0]: one[2] for one in sections(feed.frame())}[0]
    unit.submit(one(kinds.PUT, 0, b"k", b"1", op=1))
    feed.look([0])
    assert feed.frame() is None, "its backup does not have it yet"
    cluster.settle()
    feed.look([0])
    assert sections(feed.frame()) == [(0, start, start + 1, False, {b"k": start + 1})]

    cluster.run(0, one(kinds.PUT, 0, b"x", b"1", op=2, target="brief"))
    assert near(cluster, 0) == (0, start + 1, [b"1", 0, 1, start + 2])
    assert near(cluster, 0, b"absent") == (1, 0, [None, 0, 1, start + 2])
    pending = cluster.run(0, one(kinds.GET_NEAR, 0, b"x", target="brief"))
    assert 0 < msgspec.msgpack.decode(pending.values[0])[1] <= 1000

    cluster.tick(1.5)
    feed.ask(2)
    columns = feed.frame()
    assert columns is not None
    assert columns.keys[-1] == b"x", "its removal is told as well"
    assert columns.space_index[-1] == 1
    cluster.clock.seconds += 60
    feed.ask(3)
    assert feed.frame() is None, "its lease is over: somebody else may answer by now"


def test_a_near_read_waits_for_the_write_it_saw() -> None:
    cluster = Cluster(["u1", "u2", "u3"])
    unit = cluster.primary(0)
    unit.submit(one(kinds.PUT, 0, b"k", b"1", op=1))
    pending = unit.submit(one(kinds.GET_NEAR, 0, b"k"))
    assert not pending.done
    cluster.settle()
    assert pending.done
