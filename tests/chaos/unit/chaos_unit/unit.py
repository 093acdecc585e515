"""Counters, lists, things to take and accounts: each a sequential object of one route.

An object that nobody has touched yet is as it begins: sum 0, empty, free, START_BALANCE.
"""

from __future__ import annotations

from tupelo.errors import ApplicationError
from tupelo.unit import Entry, ProcessingUnit, replace

ACCOUNTS = 4
START_BALANCE = 100

unit = ProcessingUnit("chaos")


class Counter(Entry, frozen=True):
    name: str
    total: int = 0


class Log(Entry, frozen=True):
    name: str
    items: tuple[str, ...] = ()


class Thing(Entry, frozen=True):
    name: str
    holder: str


class Account(Entry, frozen=True):
    bank: str
    number: int
    balance: int = START_BALANCE


@unit.error
class Taken(ApplicationError):
    """Fields: holder."""


@unit.error
class NotHeld(ApplicationError):
    """Fields: holder; None for a free thing."""


@unit.error
class TooPoor(ApplicationError):
    """Fields: balance."""


counters = unit.space("counters", Counter, key="name")
logs = unit.space("logs", Log, key="name", coalesce=False)
things = unit.space("things", Thing, key="name")
accounts = unit.space("accounts", Account, key=("bank", "number"), route="bank")


@unit.command(route="name")
def add(name: str, amount: int) -> int:
    """The sum after it."""
    counter = counters.get(name) or Counter(name)
    return counters.put(replace(counter, total=counter.total + amount)).total


@unit.command(route="name", read_only=True)
def total(name: str) -> int:
    return (counters.get(name) or Counter(name)).total


@unit.command(route="name")
def append(name: str, item: str) -> int:
    """The length after it."""
    log = logs.get(name) or Log(name)
    return len(logs.put(replace(log, items=(*log.items, item))).items)


@unit.command(route="name", read_only=True)
def read(name: str) -> tuple[str, ...]:
    return (logs.get(name) or Log(name)).items


@unit.command(route="name")
def take(name: str, customer: str) -> None:
    """Raises Taken when anybody has it, the customer too: a repetition would be seen."""
    thing = things.get(name)
    if thing is not None:
        raise Taken("it is taken", holder=thing.holder)
    things.put(Thing(name, customer))


@unit.command(route="name")
def release(name: str, customer: str) -> None:
    """Raises NotHeld when the customer has it not, or not any more."""
    thing = things.get(name)
    if thing is None or thing.holder != customer:
        raise NotHeld("it is not held by you", holder=thing.holder if thing else None)
    things.delete(name)


@unit.command(route="name", read_only=True)
def holder(name: str) -> str | None:
    thing = things.get(name)
    return thing.holder if thing else None


@unit.command(route="bank")
def transfer(bank: str, source: int, target: int, amount: int) -> tuple[int, int]:
    """Both balances after it. Raises TooPoor."""
    giver = accounts.get((bank, source)) or Account(bank, source)
    taker = accounts.get((bank, target)) or Account(bank, target)
    if giver.balance < amount:
        raise TooPoor("the balance is below the amount", balance=giver.balance)
    giver = accounts.put(replace(giver, balance=giver.balance - amount))
    taker = accounts.put(replace(taker, balance=taker.balance + amount))
    return giver.balance, taker.balance


@unit.command(route="bank", read_only=True)
def balances(bank: str) -> tuple[int, ...]:
    return tuple(
        (accounts.get((bank, number)) or Account(bank, number)).balance
        for number in range(ACCOUNTS)
    )
