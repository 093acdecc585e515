"""A partition that is loaded from the store twice: what ran between the loads never runs again."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace
from tupelo.errors import ResultCode
from tupelo.session import Sessions, session_id
from tupelo_grid.core import batch as kinds
from tupelo_grid.core.batch import Batch
from tupelo_grid.core.dedupe import session_now
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.records import Entry
from tupelo_grid.core.table import PartitionConfig, Versioned
from tupelo_grid.core.unit import Unit

from tests.unit.test_core_unit import SPACES, CountingCommands, FakeClock, one


def call(session: int, number: int) -> Batch:
    batch = one(kinds.CALL, 0, op=number, target="add")
    batch.session = session
    return batch


def loaded(clock: FakeClock, epoch: int, revision: int, count: int, cursor: int) -> Unit:
    """A new unit that has loaded partition 0 from the store, as runtime.loading does."""
    unit = Unit(f"u#{epoch}", clock, Limits(), CountingCommands(), SPACES)
    unit.renewed(clock.now() + 3)
    config = PartitionConfig(epoch, unit.me, (unit.me,), load=True)
    unit.set_table({0: Versioned(config, revision)})
    part = Partition(0)
    if count:
        part.spaces["default"] = {b"n": Entry(msgspec.msgpack.encode(count), cursor, 0)}
    part.begin_at(cursor, epoch - 1, session_now(clock.wall_ms()))
    unit.loaded(0, part)
    unit.set_table({0: Versioned(replace(config, load=False), revision + 1)})
    assert 0 in unit.serving
    return unit


def counted(unit: Unit) -> int:
    return msgspec.msgpack.decode(unit.replicas[0].spaces["default"][b"n"].value, type=int)


@pytest.mark.parametrize("gap_s", [1, 2, 6, 12, 20])
def test_a_retry_is_not_run_again_by_a_second_load(gap_s: int) -> None:
    clock = FakeClock()
    clock.seconds = 16.0 * 100_000_000 + 1  # at the beginning of a period of session ids
    sessions = Sessions(lambda: session_id(clock.wall_ms(), 12345), 65536)
    first = loaded(clock, 2, 10, 0, 0)
    session, number = sessions.reserve(1)
    refused = first.submit(call(session.id, number))
    assert refused.codes[0] == ResultCode.SESSION_EXPIRED
    above = refused.errors[0].fields["session_above"]
    assert isinstance(above, int)
    sessions.renew(max(session.id, above))
    session, number = sessions.reserve(1)
    done = first.submit(call(session.id, number))
    assert done.done
    assert done.codes[0] == ResultCode.OK
    assert counted(first) == 1

    # Its answer is lost, the unit stops as the last copy, and another one loads what it stored.
    clock.seconds += gap_s
    second = loaded(clock, 4, 20, 1, first.replicas[0].commit)
    retried = second.submit(call(session.id, number))
    assert retried.codes[0] == ResultCode.SESSION_EXPIRED
    assert counted(second) == 1
