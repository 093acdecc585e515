"""Checks that need no search: O(n log n) on histories of any length, beside the full check.

Each returns readable violations, none when all is well. They know less than a linearizability
check, but they never give up, and what they find is always wrong.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tests.linearizability.history import Op, by_key


def check_versions(ops: Iterable[Op]) -> list[str]:
    """Register histories (see RegisterModel): versions follow time, and one version is one value.

    When one operation of a key returned before another was invoked, the second cannot have seen or
    made an older version than the first, nor made the same one.
    """
    problems: list[str] = []
    for key, own in by_key(ops).items():
        problems.extend(f"key {key!r}: {text}" for text in _one_value_a_version(own))
        problems.extend(f"key {key!r}: {text}" for text in _versions_follow_time(own))
    return problems


def _one_value_a_version(ops: Sequence[Op]) -> Iterator[str]:
    values: dict[int, Any] = {}
    makers: dict[int, Op] = {}
    for op in ops:
        made, seen = _versions(op)
        if made is not None:
            if made in makers:
                yield f"version {made} was given to two writes: {makers[made]} and {op}"
            makers[made] = op
        known = _value_at(op)
        if known is None:
            continue
        version = made if made is not None else seen
        if version is not None and values.setdefault(version, known) != known:
            yield f"version {version} was seen as {values[version]!r} and as {known!r}"


def _versions_follow_time(ops: Sequence[Op]) -> Iterator[str]:
    returned = sorted((op for op in ops if not op.unknown), key=lambda op: op.returned)
    newest: tuple[int, Op] | None = None
    index = 0
    for op in sorted(returned, key=lambda op: op.invoked):
        while index < len(returned) and returned[index].returned < op.invoked:
            version = max((v for v in _versions(returned[index]) if v is not None), default=0)
            if version and (newest is None or version > newest[0]):
                newest = (version, returned[index])
            index += 1
        if newest is None:
            continue
        made, seen = _versions(op)
        if made is not None and made <= newest[0]:
            yield f"{op} made version {made} after {newest[1]} had returned"
        if seen is not None and seen < newest[0]:
            yield f"{op} saw version {seen} after {newest[1]} had returned"


def _versions(op: Op) -> tuple[int | None, int | None]:
    """(version that the operation made, version that it saw), None for neither or not told."""
    if op.unknown or op.result is None or op.kind == "contains":
        return None, None
    if op.kind in ("put", "put_ttl"):
        return op.result, None
    if op.kind == "get":
        return None, op.result[1]
    applied, version = op.result
    return (version, None) if applied else (None, version or None)


def _value_at(op: Op) -> Any:
    """(the value that the operation's version has,), or None where it does not tell."""
    if op.unknown or op.result is None or op.kind in ("contains", "delete", "delete_if"):
        return None
    if op.kind == "get":
        return (op.result[0],)
    if op.kind in ("put", "put_ttl") or op.result[0]:
        return (op.args[-1],)
    return None


def check_append_lists(ops: Iterable[Op]) -> list[str]:
    """AppendListModel histories whose items are unique.

    Every read is a beginning of the longest one; nothing appears twice or unasked for; an item
    whose append returned before a read was invoked is in it; items stand in the order of time.
    """
    problems: list[str] = []
    for key, own in by_key(ops).items():
        problems.extend(f"key {key!r}: {text}" for text in _append_list(own))
    return problems


def _append_list(ops: Sequence[Op]) -> Iterator[str]:
    reads = [op for op in ops if op.kind == "read" and not op.unknown]
    appends = {op.args[0]: op for op in ops if op.kind == "append"}
    if not reads:
        return
    longest: tuple[Any, ...] = max((op.result for op in reads), key=len)
    place = {item: index for index, item in enumerate(longest)}
    if len(place) != len(longest):
        twice = sorted({repr(item) for item in longest if longest.count(item) > 1})
        yield f"items appear twice: {', '.join(twice)}"
    for item in longest:
        if item not in appends:
            yield f"item {item!r} appears, but nobody appended it"
    for op in reads:
        if op.result != longest[: len(op.result)]:
            yield f"{op} is no beginning of the longest list seen"
    yield from _appends_before_reads(list(appends.values()), reads, place)
    yield from _in_order_of_time(list(appends.values()), place)


def _appends_before_reads(
    appends: Sequence[Op], reads: Sequence[Op], place: Mapping[Any, int]
) -> Iterator[str]:
    done = sorted((op for op in appends if not op.unknown), key=lambda op: op.returned)
    index, furthest, last = 0, -1, None
    for read in sorted(reads, key=lambda op: op.invoked):
        while index < len(done) and done[index].returned < read.invoked:
            at = place.get(done[index].args[0], len(place))
            if at > furthest:
                furthest, last = at, done[index]
            index += 1
        if furthest >= len(read.result):
            yield f"{read} by {read.client} lacks what {last} had appended before"


def _in_order_of_time(appends: Sequence[Op], place: Mapping[Any, int]) -> Iterator[str]:
    placed = [op for op in appends if op.args[0] in place]
    done = sorted((op for op in placed if not op.unknown), key=lambda op: op.returned)
    index, furthest, last = 0, -1, None
    for op in sorted(placed, key=lambda op: op.invoked):
        while index < len(done) and done[index].returned < op.invoked:
            if place[done[index].args[0]] > furthest:
                furthest, last = place[done[index].args[0]], done[index]
            index += 1
        if place[op.args[0]] < furthest:
            yield f"{op} stands before {last}, which had returned when it was invoked"


def check_counters(ops: Iterable[Op]) -> list[str]:
    """CounterModel histories of additions that are not negative.

    A value seen is at least the sum of what had returned when it was asked for, and at most the sum
    of what had been invoked when it was told.
    """
    problems: list[str] = []
    for key, own in by_key(ops).items():
        problems.extend(f"key {key!r}: {text}" for text in _counter(own))
    return problems


def _counter(ops: Sequence[Op]) -> Iterator[str]:
    adds = [op for op in ops if op.kind == "add"]
    if any(op.args[0] < 0 for op in adds):
        raise ValueError("this check is for counters that only grow")
    seen = [op for op in ops if not op.unknown and op.result is not None]
    low = _running(seen, [(op.returned, op.args[0]) for op in adds], at_return=False)
    high = _running(seen, [(op.invoked, op.args[0]) for op in adds], at_return=True)
    for op, least, most in zip(seen, low, high, strict=True):
        own = op.args[0] if op.kind == "add" else 0
        if not least + own <= op.result <= most:
            yield f"{op} by {op.client} must lie between {least + own} and {most}"


def _running(ops: Sequence[Op], steps: list[tuple[float, int]], *, at_return: bool) -> list[int]:
    """For each operation the sum of the steps before its invocation, or up to its return."""
    steps = sorted(steps)
    sums = [0] * len(ops)
    times = [op.returned if at_return else op.invoked for op in ops]
    index = total = 0
    for n in sorted(range(len(ops)), key=times.__getitem__):
        while index < len(steps) and (
            steps[index][0] <= times[n] if at_return else steps[index][0] < times[n]
        ):
            total += steps[index][1]
            index += 1
        sums[n] = total
    return sums


def check_set(
    acknowledged: Iterable[Hashable],
    unknown: Iterable[Hashable],
    found: Sequence[Hashable],
    removed: Iterable[Hashable] = (),
) -> list[str]:
    """What a set that was only added to must hold at the end.

    Everything acknowledged and not removed, nothing acknowledged as removed, nothing twice, and
    nothing that nobody added. Operations of unknown outcome (additions or removals) leave it open.
    """
    wanted, perhaps, gone = set(acknowledged), set(unknown), set(removed)
    held = set(found)
    problems = [f"{item!r} was acknowledged and is lost" for item in wanted - gone - perhaps - held]
    problems += [f"{item!r} was removed and is there" for item in (gone & held) - perhaps]
    problems += [f"{item!r} is there, but nobody added it" for item in held - wanted - perhaps]
    if len(held) != len(found):
        problems.append(f"{len(found) - len(held)} items are there twice")
    return sorted(problems)
