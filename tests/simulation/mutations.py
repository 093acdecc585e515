"""Deliberate protocol bugs: the simulator must catch each one within its number of schedules.

Each is a patch of the core's classes from outside, switched on by name. Most are rules of
PROTOCOL.md taken away, under the name it gives them.
"""

from __future__ import annotations

from dataclasses import replace

from tests.simulation import mutants as m
from tests.simulation.catching import Catch, Mutation, both, here, on, show
from tests.simulation.directed import (
    broken_snapshot,
    cut_floor,
    early_learner,
    fenced_learner,
    growth_in_doubt,
    late_answer,
    late_snapshot,
    lost_refusal,
    older_frame,
    read_confirmed_by_one,
    read_without_lease,
    repeated_catch_up,
)
from tests.simulation.tweaks import (
    cut_moves,
    cut_puts,
    deaths,
    few_sessions,
    long_cuts,
    moves,
    pauses,
    quick_deaths,
    three_copies,
)

MUTATIONS = [
    Mutation("ack_early", "answers before commit", on("evaluate.Evaluator.run", m.ack_early)),
    Mutation("dirty", "reads reveal uncommitted", on("evaluate._observe", m.nothing), 120),
    Mutation(
        "local_shrink",
        "commits without a silent backup before the store knows",
        on("primary.Primary._ask", m.local_shrink),
        120,
        deaths,
    ),
    Mutation(
        "majority",
        "commits by a majority of the in-sync set",
        on("primary.Primary.advance", m.majority),
        60,
        three_copies,
    ),
    Mutation(
        "expand_early",
        "the joiner does not count before the store knows it",
        on("primary.Primary._bring_in", m.expand_early),
        200,
    ),
    Mutation(
        "expand_commit",
        "a learner joins before the first record of the epoch is committed",
        on("primary.Primary._bring_in", m.expand_commit),
        directed=early_learner,
    ),
    Mutation(
        "lease_from_reply",
        "the lease counts from the answer",
        on("membership.LeaseKeeper._on_result", m.lease_from_reply),
        300,
        lambda plan: replace(pauses(plan), slow=0.2, slow_s=0.5, call_timeout_s=1.0),
    ),
    Mutation(
        "short_wait",
        "leases are taken for over too early",
        on("membership.LeaseObserver.__init__", m.short_wait),
        120,
        pauses,
    ),
    Mutation(
        "nofence_session",
        "a deposed primary's lease is left alone",
        both(
            on("controller.depose_dead", m.nofence_session),
            on("controller.fence_dead", m.no_transactions),
        ),
        120,
        long_cuts,
    ),
    Mutation("any_replica", "anybody may be promoted", on("failover._best", m.any_replica), 120),
    Mutation(
        "drop_old_primary",
        "the deposed leave the in-sync set at once",
        on("failover._promoted", m.drop_old_primary),
    ),
    Mutation(
        "noepoch",
        "backups take records of any epoch",
        on("backup.Receiver._current", m.noepoch),
        300,
        pauses,
    ),
    Mutation(
        "trunc_hw",
        "a new epoch cuts journals to the commit known (KIP-101)",
        on("unit.Unit._step_down", m.trunc_hw),
        300,
        quick_deaths,
    ),
    Mutation(
        "drop_tail",
        "a new primary cuts its journal to the commit known",
        on("primary.Primary.start", m.drop_tail),
        120,
        quick_deaths,
    ),
    Mutation("serve_early", "ready at once", on("primary.Primary.start", m.serve_early)),
    Mutation(
        "snap_notail",
        "a snapshot without what the store lacks",
        on("snapshot.Snapshot.__init__", m.snap_notail),
        120,
    ),
    Mutation(
        "puts_forget",
        "bulk puts that are taken back do not bring back what they replaced",
        on("partition.Partition._put_all", m.puts_forget),
        160,
        cut_puts,
    ),
    Mutation(
        "snap_nosessions",
        "a snapshot without the dedupe table",
        on("snapshot.Snapshot.__init__", m.snap_nosessions),
        120,
    ),
    Mutation(
        "snap_discard",
        "a late snapshot replaces a journal that went on",
        on("backup.Receiver._install", m.snap_discard),
        directed=late_snapshot,
    ),
    Mutation(
        "hand_noquiesce",
        "answers go on while a hand-over is asked for",
        on("primary.Primary._hand_over", m.hand_noquiesce),
        300,
        cut_moves,
    ),
    Mutation(
        "hand_resume",
        "answers go on while a hand-over is in doubt",
        on("primary.Primary.swapped", m.hand_resume),
        300,
        cut_moves,
    ),
    Mutation(
        "cancel_race",
        "a change in doubt counts as lost",
        on("primary.Primary.swapped", m.cancel_race),
        directed=growth_in_doubt,
    ),
    Mutation(
        "dd_local",
        "a new primary begins with an empty dedupe table",
        on("primary.Primary.start", m.dd_local),
        120,
    ),
    Mutation("nodedupe", "repeated tokens run again", on("admission.Admission.admit", m.nodedupe)),
    Mutation(
        "joint_unheard",
        "operations that ran are put into a record with others again",
        on("bulk._unheard", m.always),
        120,
        lambda plan: replace(plan, repeat=0.4),
    ),
    Mutation(
        "joint_first_only",
        "of the operations of one record only the first is remembered",
        both(
            on("dedupe.SessionTable.note", m.joint_first_only),
            on("dedupe.SessionTable.undo", m.joint_first_undone),
        ),
        120,
        lambda plan: replace(plan, repeat=0.4),
    ),
    Mutation(
        "evicted_new",
        "an evicted session is treated as new",
        on("dedupe.SessionTable.evict", m.evicted_new),
        120,
        few_sessions,
    ),
    Mutation(
        "floor_ignored",
        "operations below the session's floor run",
        on("admission.Admission.admit", m.floor_ignored),
        300,
        lambda plan: replace(
            plan, repeat=0.4, small={**plan.small, "tupelo_grid.core.dedupe.SWEEP_RESULTS_MIN": 1}
        ),
    ),
    Mutation(
        "floor_not_restored",
        "cutting a record leaves its session's floor",
        on("dedupe.SessionTable.undo", m.floor_not_restored),
        directed=cut_floor,
    ),
    Mutation(
        "failed_not_recorded",
        "failed conditions leave no record",
        on("evaluate.Evaluator._write", m.failed_not_recorded),
    ),
    Mutation(
        "db_nofence", "the store takes any batch", here("places.DataStore.apply", m.db_nofence)
    ),
    Mutation(
        "db_uncommitted",
        "the store gets what is not committed",
        on("pump_source.UnitPumpSource.read", m.db_uncommitted_read),
    ),
    Mutation(
        "trim_unpersisted",
        "journals forget what the store lacks",
        on("partition.Partition.advance_commit", m.trim_unpersisted),
        120,
    ),
    Mutation(
        "cursor_by_guess",
        "what was committed is taken for stored",
        on("pump_source.UnitPumpSource.persisted", m.cursor_by_guess),
    ),
    Mutation(
        "stopped_is_stored",
        "what the store could not take is taken for stored",
        on("pump.Pump.on_ack", m.stopped_is_stored),
    ),
    Mutation(
        "wait_early",
        "who waits for the store is told too early",
        on("persist_waits.PersistWaits.persisted", m.wait_early),
    ),
    Mutation(
        "noinc",
        "a restarted unit keeps its incarnation",
        here("world.World.next_incarnation", m.noinc),
        120,
        deaths,
    ),
    Mutation(
        "nolease",
        "reads are answered without a lease",
        on("unit.Unit._confirm", m.nolease),
        directed=read_without_lease,
    ),
    Mutation(
        "confirm_one",
        "one peer's word confirms a read",
        on("answers.Answers.confirmed_by", m.confirm_one),
        directed=read_confirmed_by_one,
    ),
    Mutation(
        "refusals_forgotten",
        "a refusal is said only once",
        on("backup.Receiver._ack", m.refusals_forgotten),
        directed=lost_refusal,
    ),
    Mutation(
        "stale_generation",
        "acknowledgements count for later streams",
        on("progress.Progress.reset", m.stale_generation),
        directed=older_frame,
    ),
    Mutation(
        "late_answer",
        "positions told in an earlier epoch count",
        on("progress.Progress.position", m.late_answer),
        directed=late_answer,
    ),
    Mutation(
        "resume_too_far",
        "a snapshot that broke off goes on one chunk too far",
        on("progress.Progress._resume_snapshot", m.resume_too_far),
        directed=broken_snapshot,
    ),
    Mutation(
        "stale_table",
        "a replica is dropped by a table older than its primary's",
        on("backup.Receiver.drop", m.stale_table),
        300,
        lambda plan: replace(moves(plan), slow=0.2, slow_s=0.6, call_timeout_s=1.0),
    ),
    Mutation(
        "catch_up_cuts",
        "a catch-up cuts what the replica holds beyond its start",
        on("backup.Receiver._catch_up", m.catch_up_cuts),
        directed=repeated_catch_up,
    ),
    Mutation(
        "local_expiry",
        "backups expire entries by their own clock",
        on("unit.Unit.tick", m.local_expiry),
        120,
    ),
    Mutation(
        "unguarded_growth",
        "a fenced learner may join",
        on("primary.Primary._ask", m.unguarded),
        directed=fenced_learner,
    ),
    Mutation(
        "min_in_sync",
        "writes are taken with too few replicas",
        on("primary.Primary.recount", m.always_writable),
        120,
        lambda plan: replace(deaths(plan), limits=replace(plan.limits, min_in_sync=2)),
    ),
    Mutation(
        "space_min",
        "a space's own number of copies is not looked at",
        on("minimums.Minimums.of", m.grid_alone),
        120,
        lambda plan: replace(deaths(plan), brief_min=2, limits=replace(plan.limits, min_in_sync=1)),
    ),
    Mutation(
        "acked_short",
        "a write is acknowledged though the in-sync set became too small for it meanwhile",
        on("batch.Pending.too_few", m.nothing),
        120,
        lambda plan: replace(deaths(plan), limits=replace(plan.limits, min_in_sync=2)),
    ),
]


def catch(name: str, first_seed: int = 1) -> Catch:
    """Runs schedules with the mutation on until one shows it, or its number is spent."""
    return show(next(one for one in MUTATIONS if one.name == name), first_seed)
