"""What the observer of leases makes of renewals that a watch tells of, between two observations."""

from __future__ import annotations

import math

import pytest
from tupelo_grid.core.membership import LeaseObserver

from tests.unit.test_membership import MARGIN, D, observe


def test_a_renewal_that_a_watch_told_of_counts_from_then() -> None:
    observer = LeaseObserver(D, MARGIN)
    observer.observe({"a": 5}, 0.0)
    observer.heard("a", 6, 0.3)
    observe(observer, D, a=6)
    assert observer.left_s("a", D) == pytest.approx(0.3 + D * MARGIN)
    assert not observer.overdue("a", 0.3 + D * (1 + MARGIN))
    assert observer.overdue("a", 0.3 + D * (1 + MARGIN) + 0.001)


def test_late_news_of_a_renewal_is_no_renewal() -> None:
    observer = LeaseObserver(D, MARGIN)
    observer.observe({"a": 5}, 0.0)
    observer.heard("a", 5, 1.0)
    observer.heard("a", 4, 1.0)
    observer.heard("b", 9, 1.0)
    assert observer.left_s("a", 1.0) == pytest.approx(D * (1 + MARGIN) - 1.0)
    assert observer.left_s("b", 1.0) == math.inf
