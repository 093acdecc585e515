"""Carrying out a batch on the partitions this unit is primary of.

Operations are applied in order and their records leave at once; the answer waits for what it would
reveal: each write for its own record, each read for the newest record it could have seen. Entries
past their deadline are removed by a record before anything looks at the partition, so nobody sees
one, and nobody can see it again after a fail-over to a slower clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from tupelo.errors import ResultCode

from tupelo_grid.core import batch as kinds_of
from tupelo_grid.core.admission import Admission, Refusal
from tupelo_grid.core.batch import Batch, Pending
from tupelo_grid.core.bulk import BulkEvaluator
from tupelo_grid.core.clock import Clock
from tupelo_grid.core.commands import CommandRunner
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.near_read import get_near
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.primary import Primary
from tupelo_grid.core.query import scan
from tupelo_grid.core.records import EXPIRE, WRITE, Entry, Mutation, Result, record_of

NOT_FOUND = int(ResultCode.NOT_FOUND)
OK = int(ResultCode.OK)
# A global is found faster than an attribute of a module.
GET, PUT = kinds_of.GET, kinds_of.PUT


class View:
    """A partition as a command sees it."""

    __slots__ = ("_partition", "now_ms", "partition")

    def __init__(self, partition: Partition, now_ms: int) -> None:
        self._partition = partition
        self.partition = partition.number
        self.now_ms = now_ms

    def get(self, space: str, key: bytes) -> Entry | None:
        entries = self._partition.spaces.get(space)
        return entries.get(key) if entries is not None else None

    def items(self, space: str) -> list[tuple[bytes, Entry]]:
        return list(self._partition.spaces.get(space, {}).items())


_NO_ENTRIES: dict[bytes, Entry] = {}
_NONE: list[Any] = []


class Evaluator:
    """Runs batches. `serving` maps partitions to ready primaries; `refuse(partition)` says why
    another one is not served; `space_ttls` has the default time to live of every known space."""

    def __init__(
        self,
        serving: Mapping[int, Primary],
        refuse: Callable[[int], Refusal],
        space_ttls: Mapping[str, int],
        runner: CommandRunner,
        limits: Limits,
        clock: Clock,
    ) -> None:
        self.serving = serving
        self.refuse = refuse
        self.space_ttls = space_ttls
        self.runner = runner
        self.limits = limits
        self.clock = clock
        self.admission = Admission(space_ttls, runner, limits)
        self.bulk = BulkEvaluator(serving, refuse, self.expire, space_ttls, self.admission)

    def run(self, pending: Pending) -> tuple[dict[Primary, int], set[Primary]]:
        """Returns what the answer must wait for: a sequence by primary, and the primaries read."""
        waits: dict[Primary, int] = {}
        reads: set[Primary] = set()
        batch = pending.batch
        now_ms = self.clock.wall_ms()
        if batch.kinds:
            self._operations(pending, now_ms, waits, reads)
        if batch.bulk is not None:
            self.bulk.run(pending, batch.bulk, now_ms, waits, reads)
        return waits, reads

    def _operations(
        self, pending: Pending, now_ms: int, waits: dict[Primary, int], reads: set[Primary]
    ) -> None:
        """One after the other. A put that nothing speaks against and a get are done here; whatever
        wants a closer look goes its own way. Names are looked up once, since this is the loop that
        all plain operations pass."""
        batch = pending.batch
        names, index, faults = batch.targets, batch.target_index, batch.faults
        values, numbers, ttls = batch.values or _NONE, batch.op_numbers or _NONE, batch.ttls_ms
        session, floor = batch.session, batch.acked_below
        serving, space_ttls = self.serving, self.space_ttls
        admission = self.admission
        taken = not admission.overloaded or admission.spills(names)
        room = self.limits.pipeline_records_max if taken else 0
        told, found, epochs, copies = (
            pending.versions,
            pending.values,
            pending.epochs,
            pending.copies,
        )
        rows = zip(batch.partitions, batch.kinds, batch.keys, strict=True)
        for i, (number, kind, key) in enumerate(rows):
            primary = serving.get(number)
            if primary is None or (faults is not None and i in faults):
                self._not_run(pending, i, number)
                continue
            partition = primary.partition
            if partition.deadlines.next_ms <= now_ms:
                self.expire(primary, now_ms)
            name = names[0] if index is None else names[index[i]]
            ttl_ms = space_ttls.get(name)
            if kind == PUT and ttl_ms is not None:
                op_number = numbers[i]
                state = partition.sessions.states.get(session)
                if (
                    state is None
                    or op_number in state.results
                    or op_number < state.floor
                    or not primary.writable
                    or partition.journal.last - partition.commit >= room
                ):
                    self._write(pending, i, kind, name, primary, now_ms, waits)
                    continue
                if ttls is not None:
                    ttl_ms = ttls[i] or ttl_ms
                deadline_ms = now_ms + ttl_ms if ttl_ms else 0
                waits[primary] = told[i] = primary.append(
                    (WRITE, session, op_number, floor, None, name, key, values[i], deadline_ms)
                )
                epochs[i] = primary.epoch
                copies[i] = primary.copies
            elif kind == GET and ttl_ms is not None:
                reads.add(primary)
                entry = partition.spaces.get(name, _NO_ENTRIES).get(key)
                if entry is None:
                    pending.codes[i] = NOT_FOUND
                else:
                    found[i] = entry.value
                    told[i] = entry.version
                if partition.commit != partition.journal.last:
                    _observe(primary, entry, waits)
            elif kind == kinds_of.GET_NEAR and ttl_ms is not None:
                reads.add(primary)
                _observe(primary, get_near(pending, i, name, primary, now_ms), waits)
            elif kind in kinds_of.READ_KINDS:
                reads.add(primary)
                self._read(pending, i, kind, name, primary, now_ms)
                waits[primary] = partition.journal.last
            else:
                self._write(pending, i, kind, name, primary, now_ms, waits)

    def _not_run(self, pending: Pending, i: int, number: int) -> None:
        faults = pending.batch.faults
        if faults is not None and i in faults:
            pending.fail(i, *faults[i])
        else:
            self._refuse(pending, i, self.refuse(number))

    @staticmethod
    def _refuse(pending: Pending, index: int, refusal: Refusal) -> None:
        if refusal.code == ResultCode.WRONG_OWNER:
            pending.stale = True
        pending.fail(index, refusal.code, refusal.message, **refusal.fields)

    # -- reads

    def _read(
        self, pending: Pending, i: int, kind: int, name: str, primary: Primary, now_ms: int
    ) -> None:
        unknown = self.admission.unknown(name, kind)
        if unknown is not None:
            self._refuse(pending, i, unknown)
            return
        batch = pending.batch
        entries = primary.partition.spaces.get(name, _NO_ENTRIES)
        if kind == kinds_of.CONTAINS:
            entry = entries.get(batch.keys[i])
            if entry is None:
                pending.codes[i] = NOT_FOUND
            else:
                pending.versions[i] = entry.version
        elif kind == kinds_of.COUNT:
            pending.values[i] = msgspec.msgpack.encode(len(entries))
        elif kind == kinds_of.SCAN:
            try:
                (limit,) = msgspec.msgpack.decode(_value(batch, i), type=tuple[int])
            except msgspec.MsgspecError as error:
                pending.fail(i, ResultCode.INVALID_ARGUMENT, f"scan takes [limit]: {error}")
                return
            page = scan(entries, batch.keys[i], max(1, limit))
            pending.values[i] = msgspec.msgpack.encode(page)
        else:
            view = View(primary.partition, now_ms)
            result, mutations = self.runner.run(name, _value(batch, i), view)
            if mutations:
                message = f"the command {name!r} is declared read-only but writes"
                pending.fail(i, ResultCode.COMMAND_FAILED, message)
                return
            self._tell(pending, i, result)

    @staticmethod
    def _tell(pending: Pending, i: int, result: Result) -> None:
        code, version, value = result
        if code < kinds_of.CARRIED_OUT_BELOW:
            pending.codes[i], pending.versions[i], pending.values[i] = code, version, value
        else:
            pending.fail(i, code, _text(value))

    # -- writes

    def _write(
        self,
        pending: Pending,
        i: int,
        kind: int,
        name: str,
        primary: Primary,
        now_ms: int,
        waits: dict[Primary, int],
    ) -> None:
        batch = pending.batch
        numbers = batch.op_numbers
        number = numbers[i] if numbers is not None else 0
        unknown = self.admission.unknown(name, kind)
        call = kind == kinds_of.CALL
        space = "" if call else name
        admitted = unknown or self.admission.admit(primary, batch.session, number, space)
        if admitted is not None:
            if isinstance(admitted, Refusal):
                self._refuse(pending, i, admitted)
                return
            # It ran before; its record may still be on its way to the backups.
            self._tell(pending, i, admitted)
            waits[primary] = primary.partition.journal.last
        else:
            result, mutations = self._decide(batch, i, kind, name, primary, now_ms)
            if result is not None and result[0] == kinds_of.NOT_READY:
                # The command needs an entry that is read from the store first: it has not run.
                self._tell(pending, i, result)
                return
            if call and not primary.writable:
                short = self.admission.too_few(primary, {one[0] for one in mutations})
                if short is not None:
                    self._refuse(pending, i, short)
                    return
            refusal = self.admission.unspilled(mutations) if self.admission.overloaded else None
            if refusal is not None:
                self._refuse(pending, i, refusal)
                return
            floor = batch.acked_below
            record = record_of(WRITE, batch.session, number, floor, result, mutations)
            sequence = primary.append(record)
            waits[primary] = sequence
            if result is None:
                pending.versions[i] = sequence
            else:
                self._tell(pending, i, result)
                if call and result[0] == OK:
                    pending.versions[i] = sequence
        pending.epochs[i] = primary.epoch
        pending.copies[i] = primary.copies

    def _decide(
        self, batch: Batch, i: int, kind: int, name: str, primary: Primary, now_ms: int
    ) -> tuple[Result | None, tuple[Mutation, ...]]:
        """What the operation does: its result (None: OK, version = sequence) and its effects."""
        if kind == kinds_of.CALL:
            view = View(primary.partition, now_ms)
            return self.runner.run(name, _value(batch, i), view)
        key = batch.keys[i]
        if kind != kinds_of.PUT:
            entry = primary.partition.spaces.get(name, _NO_ENTRIES).get(key)
            unmet = _unmet(kind, entry, batch.expected[i] if batch.expected else 0)
            if unmet is not None:
                return unmet, ()
            if kind in (kinds_of.DELETE, kinds_of.DELETE_IF_VERSION):
                return None, ((name, key, None, 0),)
        ttl_ms = (batch.ttls_ms[i] if batch.ttls_ms else 0) or self.space_ttls[name]
        deadline_ms = now_ms + ttl_ms if ttl_ms else 0
        return None, ((name, key, _value(batch, i), deadline_ms),)

    def expire(self, primary: Primary, now_ms: int) -> None:
        """Writes the removal of every entry that fell due, in records of bounded size."""
        partition = primary.partition
        while partition.deadlines.next_ms <= now_ms:
            limit = self.limits.expire_records_max
            removals = partition.deadlines.due(now_ms, limit, partition.spaces)
            if removals:
                primary.append(record_of(EXPIRE, 0, 0, 0, None, removals))


def _value(batch: Batch, i: int) -> bytes:
    return batch.values[i] if batch.values is not None else b""


def _text(value: bytes) -> str:
    return str(msgspec.msgpack.decode(value)) if value else ""


def _observe(primary: Primary, entry: Entry | None, waits: dict[Primary, int]) -> None:
    """A read must not reveal a record that may still be lost."""
    partition = primary.partition
    if partition.commit == partition.journal.last:
        return
    newest = partition.journal.last if entry is None else entry.version
    if newest > partition.commit and newest > waits.get(primary, 0):
        waits[primary] = newest


def _unmet(kind: int, entry: Entry | None, expected: int) -> Result | None:
    """The answer of an operation whose condition does not hold."""
    if kind == kinds_of.PUT_IF_ABSENT:
        return None if entry is None else (int(ResultCode.EXISTS), entry.version, b"")
    if kind in (kinds_of.COMPARE_AND_SET, kinds_of.DELETE_IF_VERSION):
        if entry is None:
            # No version, and so none that could be expected: 0 neither.
            return (int(ResultCode.VERSION_MISMATCH), 0, b"")
        if entry.version == expected:
            return None
        return (int(ResultCode.VERSION_MISMATCH), entry.version, b"")
    return (NOT_FOUND, 0, b"") if entry is None else None
