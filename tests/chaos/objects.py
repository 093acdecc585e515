"""Clients of the test unit's commands: counters, lists, things to take, transfers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from tupelo.errors import ApplicationError

from tests.chaos.asking import Rotation, Worker
from tests.chaos.models import ACCOUNTS
from tests.linearizability.history import UNKNOWN, Call


class Caller:
    """Calls commands on the object whose turn it is."""

    def __init__(self, worker: Worker, rotation: Rotation) -> None:
        self.worker = worker
        self.rotation = rotation

    async def ask(
        self, call: Call, key: str, command: str, reads: bool, /, **arguments: Any
    ) -> Any:
        """UNKNOWN, the answer, or the ApplicationError."""
        worker = self.worker
        timeout_s = worker.timeout_s()
        strict = reads and worker.rng.random() < 0.1
        asked = worker.grid.call_with(
            f"chaos.{command}", arguments, timeout_s=timeout_s, strict=strict
        )
        answer = await worker.ask([call], asked, timeout_s)
        if answer is UNKNOWN and not reads:
            self.rotation.unknown(key)
        return answer


async def count(caller: Caller) -> None:
    worker = caller.worker
    while await worker.rest():
        name = caller.rotation.take()
        if worker.rng.random() < 0.25:
            call = worker.invoke(name, "read")
            answer = await caller.ask(call, name, "total", True, name=name)
        else:
            amount = worker.rng.randint(1, 9)
            call = worker.invoke(name, "add", amount)
            answer = await caller.ask(call, name, "add", False, name=name, amount=amount)
        if answer is not UNKNOWN:
            call.returned(answer)


async def append(caller: Caller) -> None:
    worker = caller.worker
    while await worker.rest():
        name = caller.rotation.take()
        if worker.rng.random() < 0.25:
            call = worker.invoke(name, "read")
            answer = await caller.ask(call, name, "read", True, name=name)
            answer = tuple(answer) if isinstance(answer, list) else answer
        else:
            item = worker.unique()
            call = worker.invoke(name, "append", item)
            answer = await caller.ask(call, name, "append", False, name=name, item=item)
        if answer is not UNKNOWN:
            call.returned(answer)


async def take(caller: Caller) -> None:
    """Every attempt under a name of its own: a repeated one would find its own first attempt."""
    worker = caller.worker
    held: tuple[str, str] | None = None
    while await worker.rest():
        if held is not None and worker.rng.random() < 0.7:
            (name, customer), held = held, None
            kind, call = "release", worker.invoke(name, "release", customer)
            answer = await caller.ask(call, name, "release", False, name=name, customer=customer)
        elif worker.rng.random() < 0.3:
            name, customer = caller.rotation.take(), ""
            kind, call = "holder", worker.invoke(name, "holder")
            answer = await caller.ask(call, name, "holder", True, name=name)
        else:
            name, customer = caller.rotation.take(), worker.unique()
            kind, call = "take", worker.invoke(name, "take", customer)
            answer = await caller.ask(call, name, "take", False, name=name, customer=customer)
            if answer is None:
                held = (name, customer)
        if answer is not UNKNOWN:
            call.returned(taken(kind, customer, answer))


def taken(kind: str, customer: str, answer: Any) -> Any:
    """As ThingModel has it."""
    if kind == "holder":
        return answer or ""
    if isinstance(answer, ApplicationError):
        return False, answer.fields.get("holder") or ""
    return True, customer if kind == "take" else ""


async def transfer(caller: Caller) -> None:
    worker = caller.worker
    while await worker.rest():
        bank = caller.rotation.take()
        if worker.rng.random() < 0.25:
            call = worker.invoke(bank, "balances")
            answer = await caller.ask(call, bank, "balances", True, bank=bank)
            if answer is not UNKNOWN:
                call.returned(tuple(answer))
            continue
        source, target = worker.rng.sample(range(ACCOUNTS), 2)
        amount = worker.rng.randint(1, 60)
        call = worker.invoke(bank, "transfer", source, target, amount)
        answer = await caller.ask(
            call, bank, "transfer", False, bank=bank, source=source, target=target, amount=amount
        )
        if isinstance(answer, ApplicationError):
            call.returned((False, answer.fields["balance"]))
        elif answer is not UNKNOWN:
            call.returned((True, tuple(answer)))


async def look(caller: Caller) -> None:
    """Reads only, as Registers.run_reading does; of a counter or a bank."""
    worker = caller.worker
    kind, command, name, form = _LOOKS[caller.rotation.names[0].partition("-")[0]]
    while await worker.rest():
        key = caller.rotation.names[-1]
        call = worker.invoke(key, kind)
        answer = await caller.ask(call, key, command, True, **{name: key})
        if answer is not UNKNOWN:
            call.returned(form(answer))


_LOOKS: Final[dict[str, tuple[str, str, str, Callable[[Any], Any]]]] = {
    "counter": ("read", "total", "name", int),
    "bank": ("balances", "balances", "bank", tuple),
}

WORK: Final[dict[str, Callable[[Caller], Coroutine[Any, Any, None]]]] = {
    "counter": count,
    "log": append,
    "thing": take,
    "bank": transfer,
}
