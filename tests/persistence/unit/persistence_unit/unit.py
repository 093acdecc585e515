"""Accounts that count what was done to them, and items with columns that can refuse a value."""

from __future__ import annotations

import os

from tupelo.unit import Entry, ProcessingUnit

unit = ProcessingUnit("ledger")
# Set by those who want to see journals spill.
SPILL = os.environ.get("LEDGER_SPILL") == "1"


class Account(Entry, frozen=True):
    number: int
    bumps: int = 0
    last: str = ""


class Item(Entry, frozen=True):
    number: int
    label: str
    note: str
    price: int


accounts = unit.space("accounts", Account, key="number", spill=SPILL)
audited = unit.space("audited", Account, key="number", coalesce=False, spill=SPILL)
receipts = unit.space("receipts", Account, key="number", write_through=True)
items = unit.space("items", Item, key="number")
stock = unit.space("stock", Item, key="number", read_through=True)


@unit.command(route="number")
def bump(number: int, operation: str) -> int:
    """Once more; with a line in the audited space, in the same change."""
    account = accounts.get(number)
    bumps = (account.bumps if account else 0) + 1
    accounts.put(Account(number=number, bumps=bumps, last=operation))
    audited.put(Account(number=number, bumps=bumps, last=operation))
    return bumps


@unit.command(route="number")
def receipt(number: int) -> int:
    """Answered when the store has it, since the space says so."""
    receipts.put(Account(number=number, bumps=1))
    return number


@unit.command(route="number")
def look(number: int) -> int:
    """Writes nothing, though it might."""
    return 0 if receipts.get(number) is None else 1


@unit.command(route="number")
def sell(number: int) -> int:
    """One less of what is in stock, which somebody else may have put into the store."""
    item = stock.get(number)
    if item is None:
        return -1
    stock.put(Item(number=number, label=item.label, note="sold", price=item.price - 1))
    return item.price - 1
