"""What each mutation puts in place of the core's own methods."""

from __future__ import annotations

from dataclasses import replace as changed_ack
from typing import Any

from msgspec.structs import replace as changed
from tupelo_grid.core.admission import Admission, Refusal
from tupelo_grid.core.answers import Answers
from tupelo_grid.core.backup import Receiver
from tupelo_grid.core.batch import PUT_IF_ABSENT, REPLACE
from tupelo_grid.core.dedupe import SessionTable
from tupelo_grid.core.evaluate import Evaluator
from tupelo_grid.core.failover import _promoted, depose_dead
from tupelo_grid.core.membership import LeaseKeeper, LeaseObserver
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.persist_waits import PersistWaits
from tupelo_grid.core.primary import Primary
from tupelo_grid.core.progress import Progress
from tupelo_grid.core.pump import Pump
from tupelo_grid.core.pump_frames import Answer
from tupelo_grid.core.pump_source import UnitPumpSource
from tupelo_grid.core.records import WRITE
from tupelo_grid.core.snapshot import Snapshot
from tupelo_grid.core.swaps import Purpose, SwapOutcome
from tupelo_grid.core.unit import Unit

from tests.simulation.places import DataStore


class Original:
    """The methods as they are without any mutation."""

    run = Evaluator.run
    write = Evaluator._write
    ask = Primary._ask
    advance = Primary.advance
    bring_in = Primary._bring_in
    hand_over = Primary._hand_over
    start = Primary.start
    swapped = Primary.swapped
    recount = Primary.recount
    on_result = LeaseKeeper._on_result
    observer = LeaseObserver.__init__
    step_down = Unit._step_down
    confirm = Unit._confirm
    tick = Unit.tick
    snapshot = Snapshot.__init__
    admit = Admission.admit
    evict = SessionTable.evict
    note = SessionTable.note
    undo = SessionTable.undo
    confirmed_by = Answers.confirmed_by
    ack = Receiver._ack
    catch_up = Receiver._catch_up
    reset = Progress.reset
    position = Progress.position
    resume_snapshot = Progress._resume_snapshot
    advance_commit = Partition.advance_commit
    put_all = Partition._put_all
    wait_persisted = PersistWaits.persisted
    source_persisted = UnitPumpSource.persisted
    on_ack = Pump.on_ack


def nothing(*_: Any) -> None:
    return None


def ack_early(self: Any, pending: Any) -> Any:
    _, reads = Original.run(self, pending)
    return {}, reads


def local_shrink(self: Any, config: Any, purpose: Any, lease_guard: str = "") -> None:
    Original.ask(self, config, purpose, lease_guard)
    if purpose is Purpose.SHRINK:
        gone = set(self.config.in_sync) - set(config.in_sync)
        self.need = tuple(one for one in self.need if one.link.peer not in gone)


def unguarded(self: Any, config: Any, purpose: Any, lease_guard: str = "") -> None:
    Original.ask(self, config, purpose, "")


def majority(self: Any) -> bool:
    acked = sorted([self.partition.journal.last, *(one.acked for one in self.need)])
    commit = acked[len(acked) - 1 - len(acked) // 2]
    if (self.doubt and not self.ready) or commit <= self.partition.commit:
        return False
    self.partition.advance_commit(commit)
    self.ready = self.ready or commit >= self.noop
    return True


def expand_early(self: Any, config: Any) -> None:
    Original.bring_in(self, config)
    self.joiner = ""
    self.recount()


def expand_commit(self: Any, config: Any) -> None:
    progress = self.progress.get(config.learner)
    early = not self.ready and progress is not None and progress.streaming
    if early and progress.acked >= self.partition.commit and not self.peers.silent(config.learner):
        grown = changed(config, learner="", in_sync=(*config.in_sync, config.learner))
        self._ask(grown, Purpose.GROW, lease_guard=config.learner)
        return
    Original.bring_in(self, config)


def lease_from_reply(self: Any, nonce: str, result: Any, now: float) -> Any:
    self._outstanding = dict.fromkeys(self._outstanding, now)
    return Original.on_result(self, nonce, result, now)


def short_wait(self: Any, duration_s: float, margin: float) -> None:
    Original.observer(self, duration_s * 0.4, 0.0)


def nofence_session(view: Any, members: Any, lengths: Any) -> Any:
    return [
        changed(
            txn,
            puts={key: value for key, value in txn.puts.items() if not key.startswith("lease/")},
        )
        for txn in depose_dead(view, members, lengths)
    ]


def no_transactions(*_: Any) -> list[Any]:
    return []


def any_replica(partition: int, config: Any, members: Any, lengths: Any, promoted: Any) -> str:
    return min(members.live, key=lambda one: (one in config.in_sync, one), default="")


def drop_old_primary(config: Any, candidate: str, members: Any) -> Any:
    promoted = _promoted(config, candidate, members)
    left = tuple(one for one in config.in_sync if one != config.primary)
    return changed(promoted, in_sync=left or config.in_sync)


def noepoch(self: Any, inbound: Any, number: int, epoch: int) -> bool:
    known = self.epochs.get(number, 0)
    if epoch > known:
        self.adopt(number, epoch)
    self.epochs[number] = epoch
    return True


def trunc_hw(self: Any, number: int, higher_epoch: int = 0) -> None:
    Original.step_down(self, number, higher_epoch)
    if higher_epoch:
        _cut_to_commit(self.replicas.get(number))


def drop_tail(self: Any, in_doubt: bool) -> None:
    _cut_to_commit(self.partition)
    Original.start(self, in_doubt)


def _cut_to_commit(partition: Any) -> None:
    if partition is not None:
        base = max(partition.commit, partition.undo_base)
        partition.truncate(min(base, partition.journal.last))


def serve_early(self: Any, in_doubt: bool) -> None:
    Original.start(self, in_doubt)
    self.ready = True


def dd_local(self: Any, in_doubt: bool) -> None:
    self.partition.sessions.states = {}
    self.partition._replaced.clear()
    self.partition._noted.clear()
    Original.start(self, in_doubt)


def snap_notail(self: Any, partition: Any) -> None:
    Original.snapshot(self, partition)
    self._tail_after, self._tail = self.sequence, []


def snap_nosessions(self: Any, partition: Any) -> None:
    Original.snapshot(self, partition)
    self._sessions = []


def snap_discard(self: Any, received: Any) -> None:
    self.replicas[received.number] = received


def hand_noquiesce(self: Any, config: Any) -> None:
    target = config.next_primary
    if target == self.me or not self.progress[target].streaming or self.peers.silent(target):
        return
    handed = changed(config, epoch=config.epoch + 1, primary=target, next_primary="")
    self._ask(handed, Purpose.HAND_OVER, lease_guard=target)


def hand_resume(self: Any, result: Any) -> None:
    if result.outcome is SwapOutcome.IN_DOUBT and result.swap.purpose is Purpose.HAND_OVER:
        result = type(result)(result.swap, SwapOutcome.LOST)
        self.config = changed(self.config, next_primary="")
    Original.swapped(self, result)


def cancel_race(self: Any, result: Any) -> None:
    if result.outcome is SwapOutcome.IN_DOUBT and self.swap is not None:
        self.swap, self.joiner, self.handing_over = None, "", False
        self.recount()
        return
    Original.swapped(self, result)


def nodedupe(self: Any, primary: Any, session: int, op_number: int, space: str = "") -> Any:
    admitted = Original.admit(self, primary, session, op_number, space)
    return admitted if isinstance(admitted, Refusal) else self.overload(primary, space)


def puts_forget(self: Any, puts: Any, sequence: int) -> Any:
    replaced, size = Original.put_all(self, puts, sequence)
    return [None] * len(replaced), size


def always(*_: Any) -> bool:
    return True


def joint_first_only(self: Any, record: Any, sequence: int) -> Any:
    return Original.note(self, (WRITE, *record[1:4], None, *record[5:]), sequence)


def joint_first_undone(self: Any, record: Any, floor_before: int) -> None:
    Original.undo(self, (WRITE, *record[1:4], None, *record[5:]), floor_before)


def floor_ignored(self: Any, primary: Any, session: int, op_number: int, space: str = "") -> Any:
    state = primary.partition.sessions.states.get(session)
    floor = state.floor if state else 0
    if state is not None and op_number not in state.results:
        state.floor = 0
    try:
        return Original.admit(self, primary, session, op_number, space)
    finally:
        if state is not None:
            state.floor = floor


def evicted_new(self: Any, sessions: Any) -> Any:
    undo = Original.evict(self, sessions)
    self.evicted_through = 0
    return undo


def floor_not_restored(self: Any, record: Any, before: Any) -> None:
    state = self.states[record[1]]
    floor = state.floor
    Original.undo(self, record, before)
    state.floor = floor


def failed_not_recorded(
    self: Any, pending: Any, i: int, kind: int, name: str, primary: Any, now_ms: int, waits: Any
) -> None:
    entries = primary.partition.spaces.get(name, {})
    held = entries.get(pending.batch.keys[i])
    if kind == PUT_IF_ABSENT and held is not None:
        pending.codes[i], pending.versions[i] = 2, held.version
        return
    if kind == REPLACE and held is None:
        pending.codes[i] = 1
        return
    Original.write(self, pending, i, kind, name, primary, now_ms, waits)


def db_nofence(self: DataStore, batch: Any) -> Any:
    self.write(batch)
    return (batch.partition, batch.epoch, batch.to_sequence, Answer.PERSISTED)


def db_uncommitted_read(self: Any, partition: int, after: int, limit: int) -> Any:
    held = self._unit.replicas[partition]
    return list(enumerate(held.journal.read(after, limit), after + 1))


def trim_unpersisted(self: Any, commit: int) -> None:
    Original.advance_commit(self, commit)
    self.journal.trim(self.commit)


def wait_early(self: Any, partition: int, cursor: int) -> None:
    Original.wait_persisted(self, partition, cursor + 1)


def cursor_by_guess(self: Any, partition: int, epoch: int, cursor: int) -> None:
    """What Hazelcast did by the clock: everything sent a while ago is taken for stored."""
    Original.source_persisted(self, partition, epoch, self._unit.replicas[partition].commit)


def stopped_is_stored(self: Any, ack: Any) -> bool:
    frame = self._flight.get(ack.position)
    ends = {batch.partition: batch.to_sequence for batch in frame.batches} if frame else {}
    answers = [
        (p, epoch, ends[p], Answer.PERSISTED)
        if answer is Answer.STOPPED and p in ends
        else (p, epoch, cursor, answer)
        for p, epoch, cursor, answer in ack.answers
    ]
    return Original.on_ack(self, changed_ack(ack, answers=answers))


def noinc(self: Any, name: str) -> str:
    return f"{name}#1"


def nolease(self: Any, primary: Any, pending: Any) -> None:
    if pending.batch.strict:
        Original.confirm(self, primary, pending)


def confirm_one(self: Any, one: Any, peer: str, refused: bool) -> None:
    if not refused:
        one.peers.clear()
    Original.confirmed_by(self, one, peer, refused)


def refusals_forgotten(
    self: Any, sender: str, inbound: Any, answers: Any, reset: bool = False
) -> Any:
    ack = Original.ack(self, sender, inbound, answers, reset)
    inbound.refused.clear()
    return ack


def stale_generation(self: Any) -> None:
    Original.reset(self)
    self.generation = 0


def resume_too_far(self: Any, answer: Any) -> bool:
    answer.next_chunk += 1
    return Original.resume_snapshot(self, answer)


def late_answer(self: Any, answer: Any) -> None:
    answer.epoch = self.epoch
    Original.position(self, answer)


def stale_table(self: Any, number: int, revision: int) -> None:
    self.replicas.pop(number, None)
    self._building.pop(number, None)
    for inbound in self.inbound.values():
        if number in inbound.accepted:
            inbound.accepted.discard(number)
            inbound.refused.add(number)


def local_expiry(self: Any) -> None:
    Original.tick(self)
    now_ms = self.clock.wall_ms()
    for number, held in self.replicas.items():
        if number not in self.primaries:
            for _, key, _, _ in held.deadlines.due(now_ms, 1000, held.spaces):
                for entries in held.spaces.values():
                    entries.pop(key, None)


def always_writable(self: Any) -> None:
    Original.recount(self)
    self.writable = True


def grid_alone(self: Any, space: str) -> int:
    return int(self.grid)


def catch_up_cuts(self: Any, inbound: Any, catch_up: Any) -> None:
    partition = self.replicas.get(catch_up.partition)
    if partition is not None and self.epochs.get(catch_up.partition, 0) <= catch_up.epoch:
        previous, journal = catch_up.previous_sequence, partition.journal
        base = max(partition.undo_base, partition.commit)
        if (
            base <= previous < journal.last
            and journal.epoch_at(previous) == catch_up.previous_epoch
        ):
            partition.truncate(previous)
    Original.catch_up(self, inbound, catch_up)
