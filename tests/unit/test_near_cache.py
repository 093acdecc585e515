"""A client's near cache: its bounds, what it counts, and frames that make no sense."""

from __future__ import annotations

from typing import Any

import pytest
from tupelo.batch import GarbledAnswer
from tupelo.following import Follower, Link, is_shared, read_answer
from tupelo.near import ENTRY_OVERHEAD_BYTES, NearAnswer, NearCache, SpaceCache
from tupelo.v1.data_pb2 import NearFrame

FIRST: dict[str, Any] = {
    "echo": 1,
    "partitions": [0, 1],
    "epochs": [1, 1],
    "after": [0, 0],
    "through": [0, 0],
    "resets": b"\1\1",
}


def followed(**settings: Any) -> tuple[Follower, SpaceCache, Link]:
    """Two partitions that are followed, as of second 10."""
    follower = Follower(2)
    cache = follower.cache("s", NearCache(**settings))
    link = follower.opened()
    follower.ping(link, 10.0)
    follower.frame(link, NearFrame(**FIRST))
    return follower, cache, link


def read(
    follower: Follower, cache: SpaceCache, key: bytes, value: Any = 1, size: int = 10, seen: int = 1
) -> None:
    answer = NearAnswer(value, 1 if value is not None else 0, 1, seen, 0)
    follower.answered(cache, cache.ask(key, 0, 10.0), answer, True, size)


def test_it_holds_no_more_entries_than_it_may_and_keeps_those_in_use() -> None:
    follower, cache, _ = followed(entries_max=3)
    for key in (b"a", b"b", b"c"):
        read(follower, cache, key)
    assert cache.lookup(b"a", 10.0) is not None
    read(follower, cache, b"d")
    assert cache.lookup(b"a", 10.0) is not None, "it was used, and passed over"
    assert cache.lookup(b"b", 10.0) is None
    stats = cache.stats()
    assert (stats.entries, stats.evictions, stats.fills) == (3, 1, 4)
    assert (stats.hits, stats.misses) == (2, 1)


def test_it_holds_no_more_bytes_than_it_may() -> None:
    most = 3 * (ENTRY_OVERHEAD_BYTES + 100)
    follower, cache, _ = followed(bytes_max=most)
    for number in range(10):
        read(follower, cache, b"%d" % number, size=100)
        assert cache.stats().bytes <= most
    assert cache.stats().entries == 3
    read(follower, cache, b"large", size=most)
    assert cache.stats().refusals == 1
    assert cache.stats().entries == 3, "what is too large does not push out the others"


def test_that_there_is_no_entry_is_remembered_unless_it_should_not_be() -> None:
    follower, cache, link = followed()
    read(follower, cache, b"k", value=None)
    slot = cache.lookup(b"k", 10.0)
    assert slot is not None
    assert slot.version == 0
    tells = NearFrame(
        partitions=[0], epochs=[1], after=[0], through=[2], counts=[1], keys=[b"k"], versions=[2]
    )
    follower.frame(link, tells)
    assert cache.lookup(b"k", 10.0) is None
    follower, cache, _ = followed(absent=False)
    read(follower, cache, b"k", value=None)
    assert cache.lookup(b"k", 10.0) is None


def test_the_absence_of_what_the_store_may_have_is_not_kept() -> None:
    follower, cache, _ = followed()
    none = NearAnswer(None, 0, 1, 1, 0)
    follower.answered(cache, cache.ask(b"k", 0, 10.0), none, True, 10, absent=False)
    assert cache.lookup(b"k", 10.0) is None


def test_nothing_is_served_before_the_first_echo_nor_long_after_the_last() -> None:
    follower = Follower(2)
    cache = follower.cache("s", NearCache(staleness_max_s=1.0))
    link = follower.opened()
    follower.frame(link, NearFrame(**{**FIRST, "echo": 0}))
    read(follower, cache, b"k")
    assert cache.lookup(b"k", 10.0) is None
    follower.ping(link, 10.0)
    follower.frame(link, NearFrame(**{**FIRST, "resets": b""}))
    assert cache.lookup(b"k", 11.0) is not None
    assert cache.lookup(b"k", 11.01) is None


def test_a_partition_that_an_echo_does_not_name_is_forgotten_at_once() -> None:
    follower, cache, link = followed()
    read(follower, cache, b"k")
    ping = follower.ping(link, 10.2)
    one = NearFrame(echo=ping, partitions=[1], epochs=[1], after=[0], through=[0])
    follower.frame(link, one)
    assert cache.lookup(b"k", 10.3) is None
    assert cache.stats().clears == 1


def test_what_an_earlier_epoch_says_is_passed_over() -> None:
    follower, _, link = followed()
    later = NearFrame(partitions=[0], epochs=[2], after=[5], through=[5], resets=b"\1")
    follower.frame(link, later)
    follower.frame(link, NearFrame(**FIRST))
    assert follower.parts[0].epoch == 2
    assert follower.parts[0].through == 5


def test_an_echo_that_was_never_asked_for_proves_nothing() -> None:
    follower, cache, link = followed()
    read(follower, cache, b"k")
    follower.frame(link, NearFrame(**{**FIRST, "echo": 99, "resets": b""}))
    assert cache.lookup(b"k", 11.5) is None


def test_a_command_whose_record_is_not_known_has_the_partition_forgotten() -> None:
    follower, cache, _ = followed()
    read(follower, cache, b"k")
    follower.wrote(0, 1, 0)
    assert cache.lookup(b"k", 10.0) is None
    assert cache.stats().clears == 1


def test_another_grid_has_nothing_to_do_with_what_was_known() -> None:
    follower, cache, _ = followed()
    read(follower, cache, b"k")
    follower.begin_anew(4)
    assert cache.lookup(b"k", 10.0) is None
    assert len(follower.parts) == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": [1]},
        {"after": []},
        {"through": [1, 2, 3]},
        {"partitions": [0, 2]},
        {"resets": b"\1"},
        {"counts": [1, 0]},
        {"counts": [0, 1], "keys": [b"k"]},
        {"counts": [0, 1], "keys": [b"k"], "versions": [1], "space_index": [1]},
        {"counts": [1, 1], "keys": [b"k", b"l"], "versions": [1, 1], "space_index": [0]},
    ],
)
def test_a_frame_whose_columns_do_not_fit_changes_nothing(wrong: dict[str, Any]) -> None:
    follower, cache, link = followed()
    read(follower, cache, b"k")
    before = list(follower.parts)
    with pytest.raises(GarbledAnswer):
        follower.frame(link, NearFrame(**{**FIRST, **wrong}))
    assert follower.parts == before


@pytest.mark.parametrize("value", [b"", b"\x93\xc4\x01v\x00\x01", b"\xc1", b"\x94\x01\x02\x03\x04"])
def test_an_answer_that_is_none_is_refused(value: bytes) -> None:
    with pytest.raises(GarbledAnswer):
        read_answer((0, 1, value, 0, 0))


def test_what_a_caller_could_change_is_not_shared() -> None:
    assert all(is_shared(value) for value in ("a", b"a", 1, 1.5, True, None))
    assert not any(is_shared(value) for value in ([], {}, [1]))


@pytest.mark.parametrize("name", ["entries_max", "bytes_max", "staleness_max_s"])
def test_settings_are_above_0(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        NearCache(**{name: 0})
