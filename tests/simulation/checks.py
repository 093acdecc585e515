"""The invariants of PROTOCOL section 10, looked at after every step.

`Checks` sees everything at once, as no part of a real grid can: every journal, every commit, the
table, what the store of the data was given, and what clients were told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tupelo_grid.core import batch as kinds
from tupelo_grid.core.batch import Pending
from tupelo_grid.core.dedupe import numbers_of
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.records import Record, mutations_of
from tupelo_grid.core.table import (
    PART_PREFIX,
    PartitionConfig,
    decode_config,
    decode_lease,
    lease_key,
    unit_of,
)

from tests.simulation.commands import ACCOUNTS, OPENING
from tests.simulation.disks import held_by
from tests.simulation.plan import copies_min

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.workload import Operation
    from tests.simulation.world import World

DIGEST_EVERY_STEPS = 150


class Violation(Exception):
    """Something that must never happen."""


class Mark:
    """How a replica stood when it was last looked at."""

    __slots__ = ("base", "commit", "epoch", "held", "last", "persisted")

    def __init__(self, held: Partition) -> None:
        self.held = held
        self.last = self.commit = self.epoch = 0
        self.persisted = self.base = -1


class Checks:
    def __init__(self, world: World) -> None:
        self._world = world
        self._steps = 0
        self._marks: dict[str, dict[int, Mark]] = {}
        self._serving: dict[str, tuple[int, ...]] = {}
        self._log: dict[int, dict[tuple[int, int], Record]] = {}
        self._owners: dict[tuple[int, int], str] = {}
        self._not_done: list[tuple[int, int, int]] = []
        self.committed: dict[int, list[tuple[int, Record]]] = {}
        self.tokens: dict[int, dict[tuple[int, int], int]] = {}
        self.configs: dict[int, PartitionConfig] = {}
        self.acknowledged = 0
        self.digests = 0
        self.waits_ended = 0

    # -- after every step of a unit

    def stepped(self, process: Process) -> None:
        unit = process.unit
        marks = self._marks.setdefault(process.incarnation, {})
        if unit.audit.found:
            raise Violation(f"{process.incarnation} differs from its primary: {unit.audit.found}")
        for number, held in unit.replicas.items():
            mark = marks.get(number)
            if mark is None or mark.held is not held:
                mark = marks[number] = Mark(held)
                self._still_holds(process, number)
            elif held.journal.last < mark.last:
                self._still_holds(process, number)
            journal = held.journal
            if mark.last != journal.last or mark.epoch != journal.last_epoch:
                self._appended(process, number, held, mark)
            if mark.commit != held.commit:
                self._advanced(process, number, held, mark)
            # The store's cursor only rises, which the store checks itself.
            if mark.persisted != held.persisted or mark.base != held.journal_after:
                self._forgot(process, number, held, mark)
        if len(marks) != len(unit.replicas):
            for number in [number for number in marks if number not in unit.replicas]:
                del marks[number]
                self._still_holds(process, number)
        serving = tuple(unit.serving)
        if serving != self._serving.get(process.incarnation):
            self._serving[process.incarnation] = serving
            self.leased(process)
        self._steps += 1
        if self._steps % DIGEST_EVERY_STEPS == 0:
            self.compare_digests()

    def _forgot(self, process: Process, number: int, held: Partition, mark: Mark) -> None:
        mark.persisted, mark.base = held.persisted, held.journal_after
        cursor = self._world.data.fences.get(number, (0, 0))[1]
        if mark.persisted > cursor or mark.base > cursor:
            raise Violation(
                f"{process.incarnation} takes {number} for stored up to {mark.persisted} and "
                f"forgot {mark.base}; the store has it up to {cursor}"
            )

    def _appended(self, process: Process, number: int, held: Partition, mark: Mark) -> None:
        journal = held.journal
        start = mark.last if mark.epoch == journal.last_epoch else held.commit
        start = max(journal.base, min(start, mark.last, journal.last))
        primary = process.unit.primaries.get(number)
        if primary is not None and journal.last > start:
            newest = journal.at(journal.last)
            # A condition that was not met leaves a record that names no space.
            least = copies_min(self._world.plan, (one[0] for one in mutations_of(newest)))
            if newest[1] and len(primary.config.in_sync) < least:
                raise Violation(f"{process.incarnation} wrote {number} with fewer than {least}")
        log = self._log.setdefault(number, {})
        for sequence, record in enumerate(journal.read(start, journal.last - start), start + 1):
            place = (journal.epoch_at(sequence), sequence)
            known = log.setdefault(place, record)
            if known is not record and known != record:
                raise Violation(
                    f"{process.incarnation} has at {number}/{place} {record}, elsewhere {known}"
                )
        mark.last, mark.epoch = journal.last, journal.last_epoch
        held.validate()

    def _advanced(self, process: Process, number: int, held: Partition, mark: Mark) -> None:
        if held.commit < mark.commit:
            raise Violation(f"commit of {number} at {process.incarnation} went back")
        mark.commit = held.commit
        done = self.committed.setdefault(number, [])
        if held.commit > len(done):
            if number not in process.unit.primaries:
                raise Violation(
                    f"{process.incarnation}, a backup, has {number} committed to {held.commit}, "
                    f"its primaries to {len(done)}"
                )
            self._commit(process, number, held, done)
        elif held.commit:
            self._holds(process.incarnation, number, held, held.commit)

    def _commit(
        self, process: Process, number: int, held: Partition, done: list[tuple[int, Record]]
    ) -> None:
        journal = held.journal
        if done and journal.epoch_at(len(done)) != done[-1][0]:
            raise Violation(f"{process.incarnation} commits {number} on another history")
        tokens = self.tokens.setdefault(number, {})
        for sequence in range(len(done) + 1, held.commit + 1):
            epoch = journal.epoch_at(sequence)
            record = self._log[number].get((epoch, sequence))
            if record is None:
                raise Violation(f"{process.incarnation} commits {number}/{sequence} unseen")
            done.append((epoch, record))
            for operation in numbers_of(record) if record[1] else ():
                if (before := tokens.setdefault((record[1], operation), sequence)) != sequence:
                    raise Violation(
                        f"operation {operation} of session {record[1]} took effect twice in "
                        f"{number}: {before} and {sequence}"
                    )
        self._all_in_sync_hold(number)

    def _still_holds(self, process: Process, number: int) -> None:
        """Something of the replica went away: nothing that counts as held by it."""
        config, done = self.configs.get(number), self.committed.get(number)
        if config is None or not done or process.incarnation not in config.in_sync:
            return
        held = held_by(process, number)
        if held is None:
            raise Violation(f"{process.incarnation} is in sync for {number} and dropped it")
        self._holds(process.incarnation, number, held, len(done))

    def _all_in_sync_hold(self, number: int) -> None:
        config = self.configs.get(number)
        done = self.committed.get(number)
        if config is None or not done:
            return
        for member in config.in_sync:
            process = self._world.units.get(member)
            if process is None:
                continue
            held = held_by(process, number)
            if held is None:
                raise Violation(f"{member} is in sync for {number} and holds nothing of it")
            self._holds(member, number, held, len(done))

    def _holds(self, member: str, number: int, held: Partition, sequence: int) -> None:
        epoch = self.committed[number][sequence - 1][0]
        if held.journal.last < sequence or held.journal.epoch_at(sequence) != epoch:
            raise Violation(
                f"{member} lacks committed record {sequence} of epoch {epoch} of {number}: its "
                f"journal ends at {held.journal.last}, runs {held.journal.runs}"
            )

    def leased(self, process: Process) -> None:
        """Its lease or its roles changed: nobody else may answer for the same partition."""
        unit = process.unit
        for number, primary in unit.serving.items():
            epoch = primary.epoch
            held = primary.partition
            if held.commit < primary.noop or held.journal.epoch_at(held.commit) != epoch:
                raise Violation(f"{process.incarnation} is ready for {number} too early")
            owner = self._owners.setdefault((number, epoch), process.incarnation)
            if owner != process.incarnation:
                raise Violation(f"{owner} and {process.incarnation} lead {number} in {epoch}")
            if process.clock.now() >= unit.lease_until:
                continue
            for other in self._world.units.values():
                if other is process or number not in other.unit.serving:
                    continue
                if other.clock.now() < other.unit.lease_until:
                    raise Violation(
                        f"{other.incarnation} and {process.incarnation} both serve {number} "
                        f"under a lease"
                    )

    def compare_digests(self) -> None:
        """Replicas at the same record are equal, dedupe tables included."""
        seen: dict[tuple[int, int, int], tuple[int, str]] = {}
        for incarnation, process in self._world.units.items():
            for number, held in process.unit.replicas.items():
                place = (number, held.journal.last, held.journal.last_epoch)
                digest = held.digest()
                other = seen.setdefault(place, (digest, incarnation))
                if other[0] != digest:
                    raise Violation(
                        f"{other[1]} and {incarnation} differ in {number} at {place[1:]}: "
                        f"{self.difference(other[1], incarnation, number)}"
                    )
        self.digests += len(seen)

    def difference(self, one: str, two: str, number: int) -> str:
        units = self._world.units
        a, b = units[one].unit.replicas[number], units[two].unit.replicas[number]
        if a.sessions.dump() != b.sessions.dump():
            return f"sessions {a.sessions.dump()} / {b.sessions.dump()}"
        if a.sessions.evicted_through != b.sessions.evicted_through:
            return f"evicted {a.sessions.evicted_through} / {b.sessions.evicted_through}"
        return f"entries {a.spaces} / {b.spaces}"

    def died(self, process: Process) -> None:
        self._marks.pop(process.incarnation, None)
        self._serving.pop(process.incarnation, None)

    # -- the table

    def swapped(self, keys: list[str]) -> None:
        for key in keys:
            number = int(key[len(PART_PREFIX) :])
            config = decode_config(self._world.store.state.entries[key].value)
            before = self.configs.get(number)
            self.configs[number] = config
            if before is not None:
                self._follows(number, before, config)
            self._all_in_sync_hold(number)

    def _follows(self, number: int, before: PartitionConfig, config: PartitionConfig) -> None:
        """One step at a time: another primary, or a member less, or the learner in. With another
        primary go those whose process has ended, and nobody who may only seem dead."""
        if config.epoch != before.epoch + (config.primary != before.primary):
            raise Violation(f"epoch of {number} went from {before} to {config}")
        left = set(before.in_sync) - set(config.in_sync)
        new = set(config.in_sync) - set(before.in_sync)
        if self._world.plan.disk and len(new) == 1 and config.primary == before.primary:
            [back] = new
            earlier = {one for one in left if unit_of(one) == unit_of(back)}
            if earlier and earlier == left and not any(one in self._world.units for one in left):
                return  # a disk came back, in the place of who wrote it
        if config.epoch != before.epoch:
            wrong = bool(new) or any(member in self._world.units for member in left)
        else:
            wrong = len(left) + len(new) > 1 or bool(new - {before.learner})
        if wrong:
            raise Violation(f"in-sync set of {number} went from {before} to {config}")
        if config.primary and config.primary not in config.in_sync:
            raise Violation(f"{config.primary} leads {number} out of sync: {config}")
        for member in new:
            held = self._world.store.state.entries.get(lease_key(member))
            if held is None or decode_lease(held.value).fenced:
                raise Violation(f"{member} joined {number} without a lease")

    def lost(self, number: int) -> bool:
        """Nobody who is recorded as in sync lives any more."""
        config = self.configs.get(number)
        units = self._world.units
        return config is not None and not any(member in units for member in config.in_sync)

    # -- clients

    def answered(self, process: Process, pending: Pending) -> None:
        """What leaves a unit as done is committed, and what was read as well."""
        batch = pending.batch
        for index, number in enumerate(batch.partitions):
            code = pending.codes[index]
            if code >= kinds.CARRIED_OUT_BELOW:
                continue
            kind = batch.kinds[index]
            if kind in kinds.READ_KINDS:
                if kind == kinds.GET and code == 0:
                    version, value = pending.versions[index], pending.values[index]
                    self._was_read(process, number, batch.keys[index], value, version)
                continue
            assert batch.op_numbers is not None
            token = (batch.session, batch.op_numbers[index])
            plain = code == 0 and kind != kinds.CALL
            if plain:
                name = batch.targets[batch.target_index[index] if batch.target_index else 0]
                if pending.copies[index] < copies_min(self._world.plan, [name]):
                    raise Violation(f"{token} of {number} acknowledged with too few copies")
            self._was_written(process, number, token, pending.versions[index] if plain else 0)
        bulk = batch.bulk
        if bulk is not None and pending.bulk is not None:
            for group, number in enumerate(bulk.partitions):
                if pending.bulk.codes[group] == 0:
                    token = (batch.session, bulk.op_numbers[group])
                    self._was_written(process, number, token, pending.bulk.versions[group])

    def _was_read(
        self, process: Process, number: int, key: bytes, value: bytes, version: int
    ) -> None:
        done = self.committed.get(number, [])
        if version > len(done):
            raise Violation(f"{process.incarnation} told of {number}/{version}, not committed")
        changes = mutations_of(done[version - 1][1])
        if not any(mutation[1] == key and mutation[2] == value for mutation in changes):
            raise Violation(f"{process.incarnation} told {value!r} of {number}/{version} {key!r}")

    def _was_written(
        self, process: Process, number: int, token: tuple[int, int], version: int
    ) -> None:
        self.acknowledged += 1
        sequence = self.tokens.get(number, {}).get(token)
        if sequence is None:
            raise Violation(f"{process.incarnation} acknowledged {token} of {number} uncommitted")
        if version and sequence != version:
            raise Violation(f"{token} of {number} is {sequence}, but was told as {version}")

    def total(self, operation: Operation, total: int) -> None:
        if total != ACCOUNTS * OPENING:
            raise Violation(f"the accounts of {operation.partition} hold {total}")

    def unexpected(self, operation: Operation, error: Exception) -> None:
        raise Violation(f"{operation.label} got {type(error).__name__}: {error}")

    def said_not_done(self, operation: Operation) -> None:
        if operation.session is not None:
            token = (operation.partition, operation.session.id, operation.number)
            self._not_done.append(token)

    def said_not_done_is_true(self) -> None:
        for number, session, operation in self._not_done:
            if (session, operation) in self.tokens.get(number, {}):
                raise Violation(f"{session}/{operation} of {number} failed, yet took effect")

    # -- the store of the data

    def flushed(self, batch: Any, cursor: int) -> None:
        """Only committed records, whole, in order, and exactly those after the cursor."""
        number, first, last = batch.partition, batch.from_sequence, batch.to_sequence
        if first != cursor or last < first:
            raise Violation(f"the store's cursor of {number} went from {cursor} to {last}")
        done = self.committed.get(number, [])
        if last > len(done):
            raise Violation(f"the store got {number} up to {last}, committed is {len(done)}")
        expected: dict[tuple[str, bytes], tuple[Any, ...]] = {}
        for sequence in range(first + 1, last + 1):
            for space, key, value, deadline_ms in mutations_of(done[sequence - 1][1]):
                expected[space, key] = (space, key, value, sequence, deadline_ms)
        found = {(change[0], change[1]): tuple(change) for change in batch.changes}
        if found != expected:
            raise Violation(f"the store got {found} for {number} {first}..{last}, not {expected}")

    def told_stored(self, process: Process, number: int, sequence: int) -> None:
        """Somebody who waited was told that the store has it."""
        self.waits_ended += 1
        cursor = self._world.data.fences.get(number, (0, 0))[1]
        if cursor < sequence:
            raise Violation(
                f"{process.incarnation} says that {number}/{sequence} is stored; the store has it "
                f"up to {cursor}"
            )

    def replay(self, number: int) -> dict[tuple[str, bytes], tuple[bytes, int, int]]:
        """The entries that the committed records make."""
        entries: dict[tuple[str, bytes], tuple[bytes, int, int]] = {}
        for sequence, (_, record) in enumerate(self.committed.get(number, []), 1):
            for space, key, value, deadline_ms in mutations_of(record):
                if value is None:
                    entries.pop((space, key), None)
                else:
                    entries[space, key] = (value, sequence, deadline_ms)
        return entries
