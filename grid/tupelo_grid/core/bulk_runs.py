"""Which groups of a bulk write are carried out together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tupelo_grid.core.batch import GET, Bulk

# Entries that groups put together have at most.
JOINT_ENTRIES_MAX = 1024


class Run(NamedTuple):
    """The groups [first, stop) are of one partition, and have the entries [start, end)."""

    first: int
    stop: int
    start: int
    end: int


def runs(bulk: Bulk, apart: bool) -> Iterator[Run]:
    """All groups in their order, those of one partition that follow one another in one run.

    In a run of writes no key is there twice, since it would have one version for two values, nor an
    operation, which must find out that it has run. `apart`: each group is a run.
    """
    for run in _of_one_partition(bulk, apart):
        if bulk.kind == GET or _goes_together(bulk, run):
            yield run
        else:
            yield from _parts(bulk, run)


def _of_one_partition(bulk: Bulk, apart: bool) -> Iterator[Run]:
    partitions = bulk.partitions
    first = start = end = 0
    for group, (number, count) in enumerate(zip(partitions, bulk.counts, strict=True)):
        if group and (apart or number != partitions[first]):
            yield Run(first, group, start, end)
            first, start = group, end
        end += count
    if partitions:
        yield Run(first, len(partitions), start, end)


def singly(bulk: Bulk, run: Run) -> Iterator[Run]:
    """Each of its groups."""
    end = run.start
    for group in range(run.first, run.stop):
        start, end = end, end + bulk.counts[group]
        yield Run(group, group + 1, start, end)


def _goes_together(bulk: Bulk, run: Run) -> bool:
    groups, entries = run.stop - run.first, run.end - run.start
    return groups == 1 or (
        entries <= JOINT_ENTRIES_MAX
        and len(set(bulk.keys[run.start : run.end])) == entries
        and len(set(bulk.op_numbers[run.first : run.stop])) == groups
    )


def _parts(bulk: Bulk, run: Run) -> Iterator[Run]:
    """As few as there can be without changing the order. One group that has a key twice itself is
    left to its client, and nothing joins it."""
    counts, op_numbers = bulk.counts, bulk.op_numbers
    keys: set[bytes] = set()
    numbers: set[int] = set()
    first, start, end = run.first, run.start, run.start
    for group in range(run.first, run.stop):
        before, end = end, end + counts[group]
        more, number = bulk.keys[before:end], op_numbers[group]
        keys.update(more)
        entries = end - start
        over = len(keys) < entries or number in numbers or entries > JOINT_ENTRIES_MAX
        if over and group > first:
            yield Run(first, group, start, before)
            keys, numbers = set(more), set()
            first, start = group, before
        numbers.add(number)
    yield Run(first, run.stop, start, end)
