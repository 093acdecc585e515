"""The cheap checks refuse what is wrong and take what is right."""

from __future__ import annotations

from typing import Any

import pytest

from tests.linearizability.generate import register_history
from tests.linearizability.history import NEVER, UNKNOWN, Op
from tests.linearizability.quick import (
    check_append_lists,
    check_counters,
    check_set,
    check_versions,
)


def op(client: str, kind: str, *args: Any, at: tuple[float, float], result: Any) -> Op:
    return Op(client, "k", kind, args, result, at[0], at[1])


@pytest.mark.parametrize("seed", range(20))
def test_versions_of_a_correct_register_are_right(seed: int) -> None:
    assert check_versions(register_history(seed, operations=300, unknown=0.05)) == []


def test_versions_must_follow_time() -> None:
    put = op("a", "put", 1, at=(0, 1), result=5)
    late = op("b", "put", 2, at=(2, 3), result=4)
    stale = op("b", "get", at=(2, 3), result=(0, 4))
    assert "made version 4 after" in check_versions([put, late])[0]
    assert "saw version 4 after" in check_versions([put, stale])[0]


def test_a_version_is_one_write_and_one_value() -> None:
    put = op("a", "put", 1, at=(0, 9), result=5)
    same = op("b", "put", 2, at=(1, 8), result=5)
    other = op("b", "get", at=(1, 8), result=(7, 5))
    assert any("given to two writes" in text for text in check_versions([put, same]))
    assert any("seen as" in text for text in check_versions([put, other]))


def appended(*items: int) -> list[Op]:
    return [op("a", "append", n, at=(2 * n, 2 * n + 1), result=None) for n in items]


def test_append_lists() -> None:
    history = [*appended(1, 2, 3), Op("b", "k", "append", (9,), UNKNOWN, 0, NEVER)]
    right = op("r", "read", at=(10, 11), result=(1, 9, 2, 3))
    early = op("r", "read", at=(4.5, 5.5), result=(1, 9))
    assert check_append_lists([*history, right, early]) == []


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        ((1, 2), "lacks what"),
        ((1, 3, 2), "stands before"),
        ((1, 2, 2, 3), "appear twice"),
        ((1, 2, 3, 4), "nobody appended it"),
    ],
)
def test_append_lists_that_are_wrong(seen: tuple[int, ...], text: str) -> None:
    read = op("r", "read", at=(10, 11), result=seen)
    assert any(text in problem for problem in check_append_lists([*appended(1, 2, 3), read]))


def test_append_lists_must_be_beginnings_of_one_another() -> None:
    reads = [
        op("r", "read", at=(0, 20), result=(1, 2)),
        op("r", "read", at=(0, 20), result=(2, 1, 3)),
    ]
    problems = check_append_lists([*appended(1, 2, 3), *reads])
    assert any("no beginning" in problem for problem in problems)


def test_counters() -> None:
    adds = [op("a", "add", 5, at=(0, 1), result=5), Op("b", "k", "add", (2,), UNKNOWN, 0, NEVER)]
    for value, right in ((5, True), (7, True), (4, False), (10, False)):
        read = op("r", "read", at=(2, 3), result=value)
        assert (check_counters([*adds, read]) == []) is right, value


def test_sets() -> None:
    assert check_set([1, 2], [3], [1, 2]) == []
    assert check_set([1, 2], [3], [1, 2, 3]) == []
    assert check_set([1, 2], [], [2], removed=[1]) == []
    assert check_set([1, 2], [], [1]) == ["2 was acknowledged and is lost"]
    assert check_set([1], [], [1, 4]) == ["4 is there, but nobody added it"]
    assert check_set([1], [], [1], removed=[1]) == ["1 was removed and is there"]
    assert check_set([1], [], [1, 1]) == ["1 items are there twice"]
