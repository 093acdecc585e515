"""Carrying out the bulk part of a batch: many entries of one space, in groups of one partition.

Groups of one partition that follow one another become one record, since what a record costs is the
same for a few entries as for many: `transport.joining` puts those of several calls in that order.
Each group keeps its own operation number, under which it may be repeated alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Final

import msgspec
from tupelo.errors import ResultCode

from tupelo_grid.core.admission import Admission, Refusal
from tupelo_grid.core.batch import DELETE, GET, Batch, Bulk, BulkOutcome, OpError, Pending
from tupelo_grid.core.bulk_runs import Run, runs, singly
from tupelo_grid.core.primary import Primary
from tupelo_grid.core.records import JOINT, WRITE, Entry, Mutations, Result, puts, record_of

OK: Final = int(ResultCode.OK)

_encode: Final = msgspec.msgpack.Encoder().encode
_NO_ENTRIES: Final[Mapping[bytes, Entry]] = {}


class BulkEvaluator:
    """`refuse`, `expire`: as the Evaluator does for single operations."""

    def __init__(
        self,
        serving: Mapping[int, Primary],
        refuse: Callable[[int], Refusal],
        expire: Callable[[Primary, int], None],
        space_ttls: Mapping[str, int],
        admission: Admission,
    ) -> None:
        self.serving = serving
        self.refuse = refuse
        self.expire = expire
        self.space_ttls = space_ttls
        self.admission = admission

    def run(
        self,
        pending: Pending,
        bulk: Bulk,
        now_ms: int,
        waits: dict[Primary, int],
        reads: set[Primary],
    ) -> None:
        """Adds to what the answer must wait for, as `Evaluator.run` does."""
        outcome = pending.bulk = _blank(bulk)
        faults, ops = pending.batch.faults, len(pending.codes)
        unknown = self.admission.unknown(bulk.space, 0)
        ttl_ms = bulk.ttl_ms or self.space_ttls.get(bulk.space, 0)
        deadline_ms = now_ms + ttl_ms if ttl_ms else 0
        for run in runs(bulk, apart=faults is not None):
            number = bulk.partitions[run.first]
            primary = self.serving.get(number)
            if faults is not None and ops + run.first in faults:
                _refuse(pending, run, Refusal(*faults[ops + run.first]))
            elif primary is None:
                _refuse(pending, run, self.refuse(number))
            elif unknown is not None:
                _refuse(pending, run, unknown)
            else:
                if primary.partition.deadlines.next_ms <= now_ms:
                    self.expire(primary, now_ms)
                if bulk.kind == GET:
                    reads.add(primary)
                    _get(bulk, outcome, run.start, run.end, primary)
                else:
                    self._write(pending, bulk, run, deadline_ms, primary)
                waits[primary] = primary.partition.journal.last

    def _write(
        self, pending: Pending, bulk: Bulk, run: Run, deadline_ms: int, primary: Primary
    ) -> None:
        """One record for all groups of the run, or one for each where they do not go together."""
        numbers = bulk.op_numbers[run.first : run.stop]
        mutations = _mutations(bulk, run.start, run.end, deadline_ms)
        if len(numbers) > 1 and not _unheard(pending.batch, numbers, primary):
            for one in singly(bulk, run):
                self._write(pending, bulk, one, deadline_ms, primary)
            return
        batch, outcome = pending.batch, pending.bulk
        assert outcome is not None
        admitted = self.admission.admit(primary, batch.session, numbers[0], bulk.space)
        if admitted is None and self.admission.overloaded:
            admitted = self.admission.unspilled(mutations)
        if admitted is None:
            joint = len(numbers) > 1
            kind = JOINT if joint else WRITE
            result: Result | None = (OK, 0, _encode(numbers)) if joint else None
            version = primary.append(
                record_of(kind, batch.session, numbers[0], batch.acked_below, result, mutations)
            )
        elif isinstance(admitted, Refusal):
            _refuse(pending, run, admitted)
            return
        else:
            version = admitted[1]
        groups = slice(run.first, run.stop)
        outcome.versions[groups] = [version] * len(numbers)
        outcome.epochs[groups] = [primary.epoch] * len(numbers)
        outcome.copies[groups] = bytes([primary.copies]) * len(numbers)


def _unheard(batch: Batch, numbers: Sequence[int], primary: Primary) -> bool:
    """Whether none of the operations was run or answered before."""
    state = primary.partition.sessions.states.get(batch.session)
    if state is None:
        return True
    return min(numbers) >= state.floor and state.results.keys().isdisjoint(numbers)


def _blank(bulk: Bulk) -> BulkOutcome:
    groups = len(bulk.partitions)
    entries = len(bulk.keys) if bulk.kind == GET else 0
    return BulkOutcome(
        codes=bytearray(groups),
        versions=[0] * (entries or groups),
        values=[b""] * entries,
        epochs=[0] * groups,
        copies=bytearray(groups),
    )


def _mutations(bulk: Bulk, start: int, end: int, deadline_ms: int) -> Mutations:
    keys = bulk.keys[start:end]
    if bulk.kind == DELETE:
        return tuple(zip(repeat(bulk.space), keys, repeat(None), repeat(0)))
    return puts(bulk.space, keys, bulk.values[start:end], deadline_ms)


def _get(bulk: Bulk, outcome: BulkOutcome, start: int, end: int, primary: Primary) -> None:
    held = primary.partition.spaces.get(bulk.space, _NO_ENTRIES)
    keys, values, versions = bulk.keys, outcome.values, outcome.versions
    for i in range(start, end):
        entry = held.get(keys[i])
        if entry is not None:
            values[i] = entry.value
            versions[i] = entry.version


def _refuse(pending: Pending, run: Run, refusal: Refusal) -> None:
    assert pending.bulk is not None
    pending.stale = pending.stale or refusal.code == ResultCode.WRONG_OWNER
    for group in range(run.first, run.stop):
        pending.bulk.codes[group] = refusal.code
        if refusal.message:
            index = len(pending.codes) + group
            error = OpError(index, refusal.code, refusal.message, dict(refusal.fields))
            pending.errors.append(error)
