"""A grid for controller tests: a state store, leases, and primaries that follow the advice.

Every change of a partition is checked when it is made; a broken rule fails the test at once.
"""

from __future__ import annotations

import msgspec
from tupelo_grid.core.controller import Controller, ControllerSettings
from tupelo_grid.core.statestore import MemoryState, Snapshot, Txn, TxnResult
from tupelo_grid.core.table import (
    FENCED,
    GRID_KEY,
    GridInfo,
    Lease,
    PartitionConfig,
    PartitionState,
    Versioned,
    decode_lease,
    encode,
    incarnation_of,
    lease_key,
    part_key,
    unit_of,
)
from tupelo_grid.core.view import View, ViewReader

SETTINGS = ControllerSettings(units=3, lease_s=1.0, settle_s=1.0, moves_per_unit_max=4)


class Unit:
    def __init__(self, incarnation: str, zone: str) -> None:
        self.incarnation = incarnation
        self.lease = Lease(unit_of(incarnation), "a", "r", "n0", zone)
        self.alive = True
        self.paused = False
        self.renewals = 0


class Grid:
    def __init__(
        self, partitions: int = 24, backups: int = 1, settings: ControllerSettings = SETTINGS
    ) -> None:
        self.state = MemoryState()
        self.now = 1000.0
        self.settings = settings
        self.units: dict[str, Unit] = {}
        self.reader = ViewReader()
        self.controllers = [Controller(settings)]
        self.reasons: list[str] = []
        self.seen_dead: set[str] = set()
        self.numbers = 0
        self.state.txn([], {GRID_KEY: encode(GridInfo("00" * 16, partitions, backups))})

    # --- members ---

    def join(self, name: str, zone: str = "") -> str:
        self.numbers += 1
        incarnation = incarnation_of(name, self.numbers)
        self.units[incarnation] = unit = Unit(incarnation, zone)
        self.renew(unit)
        return incarnation

    def renew(self, unit: Unit) -> None:
        """What LeaseKeeper does when nothing is lost."""
        unit.renewals += 1
        unit.lease = msgspec.structs.replace(unit.lease, nonce=f"n{unit.renewals}")
        self.state.txn([], {lease_key(unit.incarnation): encode(unit.lease)})

    def drain(self, incarnation: str) -> None:
        unit = self.units[incarnation]
        unit.lease = msgspec.structs.replace(unit.lease, draining=True)
        self.renew(unit)

    def kill(self, incarnation: str, seen: bool = False) -> None:
        self.units[incarnation].alive = False
        if seen:
            self.seen_dead.add(incarnation)
            for controller in self.controllers:
                controller.saw_death(incarnation)

    @property
    def running(self) -> list[str]:
        return [name for name, unit in self.units.items() if unit.alive and not unit.paused]

    # --- what there is ---

    def view(self) -> View:
        return self.reader.read(self.state.read(""))

    def part(self, partition: int) -> PartitionConfig:
        return self.view().parts[partition].config

    def fenced(self, incarnation: str) -> bool:
        kv = self.state.entries.get(lease_key(incarnation))
        return kv is None or decode_lease(kv.value).fenced

    # --- time ---

    def control(self, view: View | None = None, which: int = 0) -> int:
        """One step of a controller, on a stale view if given; how many transactions succeeded."""
        seen = view or self.view()
        controller = self.controllers[which]
        txns = controller.step(seen, self.now)
        if not txns:
            # Nor is there anything that it only did not look at, as nothing had changed.
            controller._at_rest = None
            assert controller.step(seen, self.now) == []
        changed = [key for txn in txns for key in (*txn.puts, *txn.deletes)]
        assert len(changed) == len(set(changed)), "two transactions change one key"
        return sum(self.apply(txn).succeeded for txn in txns)

    def apply(self, txn: Txn) -> TxnResult:
        before = self.state.read("")
        result = self.state.txn(txn.conditions, txn.puts, txn.deletes)
        if result.succeeded:
            self.reasons.append(txn.reason)
            self._check(before, txn)
        return result

    def tick(self, seconds: float = 0.25) -> None:
        """Leases are renewed, primaries act on the advice, the controllers decide."""
        self.now += seconds
        for incarnation in self.running:
            self.renew(self.units[incarnation])
        self.act()
        for which in range(len(self.controllers)):
            self.control(which=which)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.25)):
            self.tick()

    def act(self) -> None:
        """Each running primary takes one step for each of its partitions."""
        view = self.view()
        for partition, versioned in view.parts.items():
            if versioned.config.primary in self.running:
                changed = self._primary_step(versioned.config)
                self.primary_swap(partition, versioned, changed)

    def primary_swap(self, partition: int, seen: Versioned, config: PartitionConfig) -> bool:
        if config == seen.config:
            return False
        key = part_key(partition)
        return self.state.txn([(key, seen.revision)], {key: encode(config)}).succeeded

    def _primary_step(self, config: PartitionConfig) -> PartitionConfig:
        silent = [m for m in config.in_sync if m not in self.running]
        replace = msgspec.structs.replace
        if silent:
            kept = tuple(m for m in config.in_sync if m not in silent)
            return replace(config, in_sync=kept, leaving="", next_primary="")
        if config.learner:
            if self.fenced(config.learner) or config.learner not in self.running:
                return config
            return replace(config, learner="", in_sync=(*config.in_sync, config.learner))
        if config.leaving in config.in_sync and config.leaving != config.primary:
            kept = tuple(m for m in config.in_sync if m != config.leaving)
            return replace(config, in_sync=kept, leaving="")
        if config.next_primary in config.in_sync and config.next_primary != config.primary:
            return replace(
                config, epoch=config.epoch + 1, primary=config.next_primary, next_primary=""
            )
        return config

    # --- rules ---

    def _check(self, before: Snapshot, txn: Txn) -> None:
        """Of a transaction of the controller that was applied."""
        old_view, new_view = ViewReader().read(before), self.view()
        assert set(old_view.parts) <= set(new_view.parts), "a partition was forgotten"
        for partition, versioned in new_view.parts.items():
            old = old_view.parts.get(partition)
            new = versioned.config
            if new.state is PartitionState.LOST:
                assert new.primary == ""
            else:
                assert new.primary in new.in_sync
            assert len(set(new.in_sync)) == len(new.in_sync)
            if old is not None and part_key(partition) in txn.puts:
                assert new.learner not in new.in_sync
                assert new.next_primary in ("", *new.in_sync)
                assert new.leaving in ("", *new.in_sync)
                assert not new.primary or new.primary not in (new.next_primary, new.leaving)
            if old is None:
                assert new_view.grid is not None
                assert new.epoch == new_view.grid.epoch_base + 1
                continue
            gone = set(old.config.in_sync) - set(new.in_sync)
            assert gone <= self.seen_dead, "the controller took somebody out who may live"
            # What the store has whole may be loaded by anybody.
            stored = old.config.load or old.config.epoch - 1 in old_view.stored.get(partition, ())
            anew = stored and new.load and old.config.state is PartitionState.LOST
            assert anew or set(new.in_sync) <= set(old.config.in_sync), "it let somebody in"
            assert not gone or new.epoch > old.config.epoch
            if new.primary == old.config.primary:
                assert new.epoch == old.config.epoch
                continue
            assert new.epoch == old.config.epoch + 1
            if old.config.primary:
                key = lease_key(old.config.primary)
                assert key in txn.puts, "deposed without writing the lease"
                assert decode_lease(txn.puts[key]).nonce == FENCED
                assert key in dict(txn.conditions), "deposed without a condition on the lease"
        for incarnation in set(old_view.leases) - set(new_view.leases):
            assert all(incarnation not in v.config.in_sync for v in new_view.parts.values())

    def settled(self) -> None:
        """Asserts that placement is satisfied and nothing is under way."""
        view = self.view()
        controller = self.controllers[0]
        members = controller.members(view, self.now)
        assert view.grid is not None
        targets = controller._targets(view.grid.partitions, view.grid.backups, members.placeable)
        for partition, versioned in view.parts.items():
            config = versioned.config
            target = [members.incarnations[unit] for unit in targets[partition]]
            assert config.state is PartitionState.OK
            assert config.primary == target[0], (partition, config, target)
            assert set(config.in_sync) == set(target), (partition, config, target)
            assert (config.learner, config.next_primary, config.leaving) == ("", "", "")


def started(units: int = 3, partitions: int = 24, backups: int = 1) -> tuple[Grid, list[str]]:
    """A grid whose table has just been created, and its incarnations."""
    grid = Grid(partitions, backups, msgspec.structs.replace(SETTINGS, units=units))
    names = [grid.join(f"unit-{n}") for n in range(1, units + 1)]
    grid.tick()
    assert len(grid.view().parts) == partitions
    return grid, names
