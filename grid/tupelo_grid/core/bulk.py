"""Carrying out the bulk part of a batch: many entries of one space, in one group a partition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import repeat
from typing import Final

from tupelo.errors import ResultCode

from tupelo_grid.core.admission import Admission, Refusal
from tupelo_grid.core.batch import DELETE, GET, Bulk, BulkOutcome, OpError, Pending
from tupelo_grid.core.primary import Primary
from tupelo_grid.core.records import WRITE, Entry, Mutation

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
        end = 0
        for group, (number, count) in enumerate(zip(bulk.partitions, bulk.counts, strict=True)):
            start, end = end, end + count
            primary = self.serving.get(number)
            if faults is not None and ops + group in faults:
                _refuse(pending, outcome, group, Refusal(*faults[ops + group]))
            elif primary is None:
                _refuse(pending, outcome, group, self.refuse(number))
            elif unknown is not None:
                _refuse(pending, outcome, group, unknown)
            else:
                if primary.partition.deadlines.next_ms <= now_ms:
                    self.expire(primary, now_ms)
                if bulk.kind == GET:
                    reads.add(primary)
                    _get(bulk, outcome, start, end, primary)
                else:
                    mutations = _mutations(bulk, start, end, deadline_ms)
                    refusal = self._write(pending, bulk, outcome, group, mutations, primary)
                    if refusal is not None:
                        _refuse(pending, outcome, group, refusal)
                waits[primary] = primary.partition.journal.last

    def _write(
        self,
        pending: Pending,
        bulk: Bulk,
        outcome: BulkOutcome,
        group: int,
        mutations: tuple[Mutation, ...],
        primary: Primary,
    ) -> Refusal | None:
        batch, number = pending.batch, bulk.op_numbers[group]
        admitted = self.admission.admit(primary, batch.session, number, bulk.space)
        if admitted is None and self.admission.overloaded:
            admitted = self.admission.unspilled(mutations)
        if admitted is None:
            record = (WRITE, batch.session, number, batch.acked_below, None, mutations)
            outcome.versions[group] = primary.append(record)
        elif isinstance(admitted, Refusal):
            return admitted
        else:
            outcome.versions[group] = admitted[1]
        outcome.epochs[group] = primary.epoch
        outcome.copies[group] = primary.copies
        return None


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


def _mutations(bulk: Bulk, start: int, end: int, deadline_ms: int) -> tuple[Mutation, ...]:
    keys = bulk.keys[start:end]
    if bulk.kind == DELETE:
        return tuple(zip(repeat(bulk.space), keys, repeat(None), repeat(0)))
    return tuple(zip(repeat(bulk.space), keys, bulk.values[start:end], repeat(deadline_ms)))


def _get(bulk: Bulk, outcome: BulkOutcome, start: int, end: int, primary: Primary) -> None:
    held = primary.partition.spaces.get(bulk.space, _NO_ENTRIES)
    keys, values, versions = bulk.keys, outcome.values, outcome.versions
    for i in range(start, end):
        entry = held.get(keys[i])
        if entry is not None:
            values[i] = entry.value
            versions[i] = entry.version


def _refuse(pending: Pending, outcome: BulkOutcome, group: int, refusal: Refusal) -> None:
    pending.stale = pending.stale or refusal.code == ResultCode.WRONG_OWNER
    outcome.codes[group] = refusal.code
    if refusal.message:
        index = len(pending.codes) + group
        error = OpError(index, refusal.code, refusal.message, dict(refusal.fields))
        pending.errors.append(error)
