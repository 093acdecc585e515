"""Ten accounts of a group, read and written together."""

from __future__ import annotations

from tupelo.unit import Entry, ProcessingUnit

EACH = 10
"""Accounts of a group; numbered from 0."""

unit = ProcessingUnit("bench")


class Account(Entry, frozen=True):
    """One account. A group's accounts are in one partition."""

    group: int
    number: int
    balance: int
    note: str


accounts = unit.space("accounts", Account, key=("group", "number"), route="group")


@unit.command(route="group")
def shift(group: int, amount: int) -> int:
    """Adds `amount` to each account of a group; the sum of their balances before."""
    found = [accounts[group, number] for number in range(EACH)]
    for account in found:
        balance = account.balance + amount
        accounts.put(Account(account.group, account.number, balance, account.note))
    return sum([account.balance for account in found])
