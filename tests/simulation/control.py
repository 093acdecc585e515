"""The shell of the real controller: reads the state store, sends what `Controller.step` decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tupelo_grid.core.controller import Controller, ControllerSettings
from tupelo_grid.core.statestore import Snapshot, Txn
from tupelo_grid.core.view import ViewReader

from tests.simulation.loop import SimClock
from tests.simulation.places import Calls

if TYPE_CHECKING:
    from tests.simulation.world import World

STEP_S = 0.1


class Control:
    """One controller; `restart` loses all it has observed. Its answers may be lost like others'."""

    def __init__(self, world: World, place: str, clock: SimClock) -> None:
        self._world = world
        self._clock = clock
        self._life = 0
        self._calls = Calls(world, place, world.plan.call_timeout_s)
        self._begin(0)

    def _begin(self, life: int) -> None:
        if life == self._life:
            plan = self._world.plan
            self._reader = ViewReader()
            self._controller = Controller(
                ControllerSettings(
                    units=plan.units,
                    lease_s=plan.lease_s,
                    lease_margin=plan.lease_margin,
                    settle_s=0.3,
                    moves_per_unit_max=2,
                    learner_retry_s=1.0,
                    in_memory=not plan.disk,
                )
            )
            self._pass(life)

    def restart(self, away_s: float) -> None:
        self._world.note("the controller restarts")
        self._life += 1
        self._world.loop.after(away_s, self._begin, self._life)

    def saw_death(self, incarnation: str) -> None:
        self._controller.saw_death(incarnation)

    def renewed(self, incarnation: str, revision: int) -> None:
        """The store's watch tells of a lease, perhaps late, perhaps not."""
        self._controller.renewed(incarnation, revision, self._clock.now())

    def _deliver(self, life: int) -> Any:
        def deliver(call: Any, *args: Any) -> None:
            if life == self._life:
                call(*args)

        return deliver

    def _pass(self, life: int) -> None:
        if life != self._life:
            return
        world = self._world
        deliver = self._deliver(life)
        self._calls.call(
            world.store.read, lambda snapshot: self._step(life, snapshot), _nothing, deliver
        )
        world.loop.after(STEP_S * (0.7 + 0.6 * world.rng.random()), self._pass, life)

    def _step(self, life: int, snapshot: Snapshot) -> None:
        world = self._world
        lengths = {
            incarnation: {n: held.journal.last for n, held in process.unit.replicas.items()}
            for incarnation, process in world.units.items()
            if not process.paused and world.rng.random() < 0.5
        }
        view = self._reader.read(snapshot)
        for txn in self._controller.step(view, self._clock.now(), lengths):
            self._send(txn, self._deliver(life))

    def _send(self, txn: Txn, deliver: Any) -> None:
        store = self._world.store
        self._calls.call(
            lambda: store.txn(
                "controller", txn.conditions, dict(txn.puts), txn.deletes, txn.reason
            ),
            _nothing,
            _nothing,
            deliver,
        )


def _nothing(*_: object) -> None:
    """Whatever became of it, the next pass sees."""
