"""What customers were told, against what the database has in the end. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct


class Verdict(Struct):
    """Counts of seats.

    Attributes:
        acknowledged: sold, as customers were told.
        in_database: sold, as the database has it.
        oversold: told to more than one customer.
        lost: told to a customer, but not theirs in the database.
        unconfirmed: sold in the database without anybody having been told: the answer was lost.
        mismatches: entries of the grid that differ from their rows.
    """

    acknowledged: int = 0
    in_database: int = 0
    oversold: int = 0
    lost: int = 0
    unconfirmed: int = 0
    mismatches: int = 0

    @property
    def good(self) -> bool:
        return self.oversold == self.lost == self.mismatches == 0


def judge(
    purchases: Iterable[tuple[str, int, str]],
    sales: Mapping[tuple[str, int], str],
    mismatches: int = 0,
) -> Verdict:
    """`purchases`: (flight, number, customer) that were acknowledged. `sales`: the database's."""
    told: dict[tuple[str, int], set[str]] = {}
    for flight, number, customer in purchases:
        told.setdefault((flight, number), set()).add(customer)
    return Verdict(
        acknowledged=len(told),
        in_database=len(sales),
        oversold=sum(len(customers) > 1 for customers in told.values()),
        lost=sum(customers != {sales.get(seat)} for seat, customers in told.items()),
        unconfirmed=len(sales.keys() - told.keys()),
        mismatches=mismatches,
    )
