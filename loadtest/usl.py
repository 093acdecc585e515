"""The Universal Scalability Law, fitted to measured points.

    X(N) = g * N / (1 + s * (N - 1) + k * N * (N - 1))

N: units. X: throughput. g: throughput of one unit, s: share of the work that does not divide
(contention), k: what units cost each other in pairs (coherency). Gunther, "Guerrilla Capacity
Planning", 2007. With y = N / X it is linear in (1/g, s/g, k/g), so that least squares is a
system of three equations; a coefficient that would be negative is held at 0, as neither s nor k can
be.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from msgspec import Struct


class Usl(Struct, frozen=True):
    """g in operations a second, s and k without a unit."""

    unit_ops_s: float
    contention: float
    coherency: float

    def throughput(self, units: float) -> float:
        return units * self.unit_ops_s / self._slowdown(units)

    def efficiency(self, units: float) -> float:
        """What a unit does among so many, as a share of what it does alone."""
        return 1 / self._slowdown(units)

    def _slowdown(self, units: float) -> float:
        return 1 + self.contention * (units - 1) + self.coherency * units * (units - 1)


def fit(points: Sequence[tuple[float, float]]) -> Usl:
    """From (units, operations a second). Raises ValueError without two different numbers of units.

    Where there are only two, coherency is 0.
    """
    if any(units < 1 or ops_s <= 0 for units, ops_s in points):
        raise ValueError("points have at least one unit and a throughput above 0")
    different = len({units for units, _ in points})
    if different < 2:
        raise ValueError("a fit needs at least two different numbers of units")
    best: tuple[float, Usl] | None = None
    for free in _choices(min(2, different - 1)):
        solved = _least_squares(points, free)
        if solved is None or solved[0] <= 0 or min(solved) < 0:
            continue
        law = Usl(1 / solved[0], solved[1] / solved[0], solved[2] / solved[0])
        error = sum((units / ops_s - units / law.throughput(units)) ** 2 for units, ops_s in points)
        if best is None or error < best[0]:
            best = error, law
    if best is None:  # cannot be: alone, the first coefficient is a mean of positive numbers
        raise ValueError("no law fits these points")
    return best[1]


def _choices(most: int) -> Iterator[tuple[int, ...]]:
    """Which coefficients beside the first may differ from 0, of 1 (contention), 2 (coherency)."""
    names = (1, 2) if most == 2 else (1,)
    for size in range(len(names) + 1):
        yield from itertools.combinations(names, size)


def _least_squares(
    points: Sequence[tuple[float, float]], free: tuple[int, ...]
) -> tuple[float, float, float] | None:
    """The coefficients of 1, N - 1 and N * (N - 1); those that are not free are 0."""
    columns = (0, *free)
    rows = [[(1.0, n - 1, n * (n - 1))[column] for column in columns] for n, _ in points]
    targets = [n / ops_s for n, ops_s in points]
    size = len(columns)
    matrix = [
        [sum(row[i] * row[j] for row in rows) for j in range(size)]
        + [sum(row[i] * target for row, target in zip(rows, targets, strict=True))]
        for i in range(size)
    ]
    solved = _solve(matrix)
    if solved is None:
        return None
    found = [0.0, 0.0, 0.0]
    for column, value in zip(columns, solved, strict=True):
        found[column] = value
    return found[0], found[1], found[2]


def _solve(matrix: list[list[float]]) -> list[float] | None:
    """Gauss with the largest pivot; each row has its right side at the end. None: singular."""
    size = len(matrix)
    scale = max(abs(value) for row in matrix for value in row)
    for i in range(size):
        pivot = max(range(i, size), key=lambda row: abs(matrix[row][i]))
        matrix[i], matrix[pivot] = matrix[pivot], matrix[i]
        if abs(matrix[i][i]) <= 1e-14 * scale:
            return None
        for other in range(size):
            if other != i:
                factor = matrix[other][i] / matrix[i][i]
                matrix[other] = [
                    a - factor * b for a, b in zip(matrix[other], matrix[i], strict=True)
                ]
    return [matrix[i][size] / matrix[i][i] for i in range(size)]
