"""How many in-sync replicas a write takes: the grid's number, or that of its space. Pure.

A partition that has enough for every space is `writable`, which is all that the path of a write
looks at; only where it is not, somebody asks for which spaces it has too few.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol


class Counts(Protocol):
    """A primary."""

    def recount(self) -> None: ...


class Minimums:
    """Attributes:
    grid: of spaces that have no number of their own.
    least: with fewer, no write at all is taken.
    most: with so many, every write is.
    """

    __slots__ = ("_spaces", "grid", "least", "most")

    def __init__(self, grid: int) -> None:
        self.grid = self.least = self.most = grid
        self._spaces: dict[str, int] = {}

    def of(self, space: str) -> int:
        return self._spaces.get(space, self.grid)

    def of_all(self, spaces: Iterable[str]) -> int:
        """What a command takes that wrote to these; the grid's number where it wrote nothing."""
        return max(map(self.of, spaces), default=self.grid)

    def follow(self, spaces: Mapping[str, int], primaries: Iterable[Counts]) -> None:
        """`spaces`: those with a number of their own, 0 for one that has none."""
        own = {name: number for name, number in spaces.items() if number}
        if own == self._spaces:
            return
        self._spaces = own
        self.least = min([self.grid, *own.values()])
        self.most = max([self.grid, *own.values()])
        for primary in primaries:
            primary.recount()


def impossible(space: str, wanted: int, backups: int) -> str:
    """Why a space cannot want so many copies, in words; "" when it can."""
    if wanted <= backups + 1:
        return ""
    return (
        f"min_in_sync of space {space!r} must be 1 to {backups + 1}, not {wanted}: that many "
        f"copies there are with backups={backups}"
    )
