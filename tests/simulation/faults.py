"""What goes wrong, and when: at random moments, and at the protocol's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.places import STATE

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World


class Faults:
    """`over`: what was about to go wrong within moments does not any more. A unit that died then,
    and for good, could have had the only disk with a copy."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.over = False
        self.counts: dict[str, int] = {}
        self._acts: dict[str, Callable[[], None]] = {
            "crash": lambda: self.crash(restart_s=None),
            "restart": lambda: self.crash(restart_s=0.02 + self._chance() * 0.1),
            "pause": self.pause,
            "cut_pair": self.cut_pair,
            "cut_one_way": self.cut_one_way,
            "cut_off": self.cut_off,
            "lost_answers": self.lost_answers,
            "cut_clients": self.cut_clients,
            "state_outage": self.state_outage,
            "data_outage": self.data_outage,
            "controller": self.controller,
            "drain": self.drain,
            "join": self.join,
            "blackout": self.blackout,
        }
        self._enabled = [name for name in self._acts if name in world.plan.faults]
        if self._enabled:
            world.loop.after(0.8 + self._chance(), self._next)

    def _chance(self) -> float:
        return self._world.rng.random()

    def _next(self) -> None:
        world = self._world
        if world.loop.now >= world.plan.load_until_s:
            return
        name = world.rng.choice(self._enabled)
        self.counts[name] = self.counts.get(name, 0) + 1
        self._acts[name]()
        world.loop.after(world.rng.expovariate(1 / world.plan.fault_every_s), self._next)

    def moment(self, process: Process, what: str) -> None:
        """The protocol does something it may be caught at: within 100 ms something goes wrong."""
        world = self._world
        if "moments" not in world.plan.faults or world.loop.now >= world.plan.load_until_s:
            return
        chance = self._chance()
        if world.plan.moments_at and what not in world.plan.moments_at:
            return
        if chance > world.plan.moment_chance:
            return
        delay_s = self._chance() * (0.005 if chance < world.plan.moment_chance / 2 else 0.1)
        name = world.rng.choice(world.plan.moment_acts)
        self.counts["moment"] = self.counts.get("moment", 0) + 1
        victim = process if self._chance() < 0.6 else self._someone()
        world.note(f"at {what} of {process.incarnation}: {name} of {victim.name}")
        acts: dict[str, Callable[[], None]] = {
            "crash": lambda: self.crash(victim, self._chance() if self._chance() < 0.7 else None),
            "pause": lambda: self.pause(victim),
            "cut_off": lambda: self.cut_off(victim),
            "lost_answers": lambda: self.lost_answers(victim),
            "cut_pair": lambda: self.cut_pair(victim),
        }
        world.loop.after(delay_s, self._act, acts[name])

    def _act(self, act: Callable[[], None]) -> None:
        if not self.over:
            act()

    # -- units

    def _someone(self) -> Process:
        return self._world.rng.choice(self._world.processes)

    def crash(self, process: Process | None = None, restart_s: float | None = None) -> None:
        world = self._world
        process = process or self._someone()
        dies = world.plan.may_lose or world.plan.disk or self._survivable(process)
        if not process.alive or not dies:
            return
        incarnation = process.incarnation
        process.crash()
        if self._chance() < 0.5:
            for control in world.controls:
                world.loop.after(0.01 + self._chance() * 0.1, control.saw_death, incarnation)
        if restart_s is not None:
            world.loop.after(restart_s, self._restart, process)

    def blackout(self) -> None:
        """All units lose power; each is back after a while of its own."""
        for process in self._world.processes:
            self.crash(process, 0.05 + 2.0 * self._chance() ** 2)

    def _restart(self, process: Process) -> None:
        if not process.alive:
            process.start()

    def _survivable(self, process: Process) -> bool:
        """Every partition keeps a live member of its recorded in-sync set."""
        units = self._world.units
        for config in self._world.checks.configs.values():
            if process.incarnation in config.in_sync:
                others = [m for m in config.in_sync if m != process.incarnation and m in units]
                if not others:
                    return False
        return True

    def pause(self, process: Process | None = None) -> None:
        world, plan = self._world, self._world.plan
        process = process or self._someone()
        if not process.alive or process.paused:
            return
        near = world.rng.choice(
            (
                plan.limits.silent_backup_s,
                plan.lease_s,
                plan.lease_s * (1 + plan.lease_margin),
                2.0 * plan.lease_s,
            )
        )
        process.pause()
        world.loop.after(near * (0.85 + 0.4 * self._chance()), self._resume, process)

    @staticmethod
    def _resume(process: Process) -> None:
        if process.alive:
            process.resume()

    def drain(self) -> None:
        from tupelo_grid.core.membership import DrainWanted

        process = self._someone()
        draining = [one for one in self._world.processes if one.alive and one.draining]
        if process.alive and not process.paused and not draining:
            process.draining = True
            process.deliver(process.incarnation, lambda: process._step(DrainWanted()))
            self._world.note(f"{process.incarnation} drains")

    def join(self) -> None:
        self._world.add_unit()

    # -- network

    def _for_a_while(self, pairs: list[tuple[str, str]]) -> None:
        net = self._world.net
        self._world.note("cut " + ", ".join(f"{a}>{b}" for a, b in pairs))
        for source, target in pairs:
            net.cut(source, target)
        length_s = self._world.rng.choice(self._world.plan.cuts_s) * (0.7 + 0.6 * self._chance())
        self._world.loop.after(length_s, self._mend, pairs)

    def _mend(self, pairs: list[tuple[str, str]]) -> None:
        for source, target in pairs:
            self._world.net.mend(source, target)

    def cut_pair(self, process: Process | None = None) -> None:
        one = process or self._someone()
        other = self._someone()
        if one is not other:
            self._for_a_while([(one.name, other.name), (other.name, one.name)])

    def cut_one_way(self) -> None:
        one, other = self._someone(), self._someone()
        if one is not other:
            self._for_a_while([(one.name, other.name)])

    def cut_off(self, process: Process | None = None) -> None:
        """From its peers and the state store, each for its own time; clients still reach it."""
        one = process or self._someone()
        peers = [other.name for other in self._world.processes if other is not one]
        self._for_a_while([p for peer in peers for p in ((one.name, peer), (peer, one.name))])
        self._for_a_while([(one.name, STATE), (STATE, one.name)])

    def lost_answers(self, process: Process | None = None) -> None:
        one = process or self._someone()
        self._for_a_while([(STATE, one.name)])

    def cut_clients(self) -> None:
        one = self._someone()
        names = [client.name for client in self._world.clients]
        self._for_a_while([p for name in names for p in ((one.name, name), (name, one.name))])

    # -- stores and controller

    def state_outage(self) -> None:
        self._world.note("the state store is away")
        self._world.store.up = False
        self._world.loop.after(0.2 + 1.5 * self._chance(), self._back, self._world.store)

    def data_outage(self) -> None:
        world = self._world
        world.data.up = False
        away_s = 0.2 + self._chance() * world.plan.data_away_s
        world.loop.after(away_s, self._back, world.data)

    @staticmethod
    def _back(store: object) -> None:
        store.up = True  # type: ignore[attr-defined]

    def controller(self) -> None:
        self._world.rng.choice(self._world.controls).restart(self._chance() * 1.5)
