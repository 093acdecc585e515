"""Which CPUs what runs on: the system under test and the load are kept apart where there are two.

Otherwise they would take each other's time, and how much would be up to the scheduler.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct


class Placement(Struct, frozen=True):
    """CPUs of either; empty: any."""

    system: tuple[int, ...] = ()
    load: tuple[int, ...] = ()

    def as_text(self) -> str:
        if not self.system:
            return "nothing pinned"
        count = len(self.system)
        return f"the system on {count} {'core' if count == 1 else 'cores'}, the load on another"


def placement(pinned: bool = True) -> Placement:
    """The load gets the last CPU of those allowed, the system the others."""
    allowed = sorted(os.sched_getaffinity(0))
    if not pinned or len(allowed) < 2:
        return Placement()
    return Placement(tuple(allowed[:-1]), (allowed[-1],))


@contextmanager
def started_on(cores: Sequence[int]) -> Iterator[None]:
    """Processes that this thread starts inside stay on `cores`; empty: as they are."""
    before = os.sched_getaffinity(0)
    if cores:
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
