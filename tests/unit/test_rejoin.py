"""Who may come back from a disk, in whose place, and when."""

from __future__ import annotations

from collections.abc import Mapping

from tupelo_grid.core.failover import promote_returned
from tupelo_grid.core.rejoin import Place, rejoin
from tupelo_grid.core.table import (
    Lease,
    PartitionConfig,
    PartitionState,
    Versioned,
    decode_config,
    decode_lease,
)
from tupelo_grid.core.view import Members, VersionedLease, View

LOST = PartitionState.LOST


def view(parts: Mapping[int, PartitionConfig], **leases: str) -> View:
    """All at revision 5; leases by unit: "a" is the nonce of a#1."""
    return View(
        5,
        None,
        {number: Versioned(config, 5) for number, config in parts.items()},
        {
            f"{unit}#1": VersionedLease(Lease(unit, "", "", nonce), 4)
            for unit, nonce in leases.items()
        },
    )


def test_a_new_incarnation_takes_the_place_and_fences_the_old_one() -> None:
    lost = PartitionConfig(3, "", ("a#1", "b#1"), state=LOST)
    served = PartitionConfig(4, "b#1", ("b#1", "a#1"), learner="a#7")
    other = PartitionConfig(4, "b#1", ("b#1",))
    seen = view({0: lost, 1: served, 2: other}, a="n", b="n")
    txn = rejoin(seen, Place("a#7", ("a#1",)), {0: (3, 9), 1: (4, 9), 2: (4, 2)})
    assert txn is not None
    assert set(txn.conditions) == {("part/0", 5), ("part/1", 5), ("lease/a#1", 4)}
    assert decode_config(txn.puts["part/0"]).in_sync == ("a#7", "b#1")
    assert decode_config(txn.puts["part/0"]).state is LOST
    assert decode_config(txn.puts["part/1"]) == PartitionConfig(4, "b#1", ("b#1", "a#7"))
    assert decode_lease(txn.puts["lease/a#1"]).fenced


def test_the_place_of_a_primary_is_left_until_it_is_deposed() -> None:
    mine = PartitionConfig(3, "a#1", ("a#1", "b#1"))
    assert rejoin(view({0: mine}, a="n"), Place("a#7", ("a#1",)), {0: (3, 9)}) is None


def test_who_is_no_member_any_more_does_not_come_back() -> None:
    shrunk = PartitionConfig(3, "b#1", ("b#1",))
    assert rejoin(view({0: shrunk}), Place("a#7", ("a#1",)), {0: (3, 9)}) is None


def test_two_earlier_lives_leave_one_place() -> None:
    lost = PartitionConfig(3, "", ("a#1", "a#7", "b#1"), state=LOST)
    txn = rejoin(view({0: lost}), Place("a#9", ("a#1", "a#7")), {0: (3, 9)})
    assert txn is not None
    assert decode_config(txn.puts["part/0"]).in_sync == ("a#9", "b#1")


def test_a_disk_that_may_lack_records_comes_back_to_lost_partitions_only_and_says_so() -> None:
    place = Place("a#7", ("a#1",), behind=("a#1",))
    served = PartitionConfig(4, "b#1", ("b#1", "a#1"))
    assert rejoin(view({0: served}), place, {0: (4, 9)}) is None
    lost = PartitionConfig(3, "", ("a#1", "b#1"), state=LOST)
    txn = rejoin(view({0: lost}), place, {0: (3, 9)})
    assert txn is not None
    assert decode_config(txn.puts["part/0"]).behind == (("a#7", 3, 9),)


def test_what_came_back_behind_stays_behind_in_its_next_life() -> None:
    lost = PartitionConfig(3, "", ("a#7", "b#1"), state=LOST, behind=(("a#7", 3, 9),))
    txn = rejoin(view({0: lost}), Place("a#9", ("a#7",)), {0: (3, 9)})
    assert txn is not None
    assert decode_config(txn.puts["part/0"]).behind == (("a#9", 3, 9),)


def promoted(config: PartitionConfig, *live: str) -> PartitionConfig | None:
    leases = {name: VersionedLease(Lease(name[0], "", "", "n"), 9) for name in live}
    seen = View(9, None, {0: Versioned(config, 5)}, leases)
    txns = promote_returned(seen, Members(leases, {}, ()), {})
    return decode_config(txns[0].puts["part/0"]) if txns else None


def test_a_member_that_lacks_nothing_goes_before_those_that_may() -> None:
    ends = (("a#7", 3, 90), ("c#7", 3, 80))
    config = PartitionConfig(3, "", ("a#7", "b#1", "c#7"), state=LOST, behind=ends)
    assert promoted(config, "a#7", "c#7") is None
    assert promoted(config, "a#7", "b#1") == PartitionConfig(4, "b#1", ("b#1",))


def test_the_most_advanced_goes_on_alone_when_all_that_may_lack_something_are_back() -> None:
    ends = (("a#7", 2, 90), ("b#7", 3, 80))
    config = PartitionConfig(3, "", ("a#7", "b#7"), state=LOST, behind=ends)
    assert promoted(config, "a#7") is None
    assert promoted(config, "a#7", "b#7") == PartitionConfig(4, "b#7", ("b#7",))
