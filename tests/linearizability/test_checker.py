"""The checker refuses what is wrong, takes what is right, and says when it does not know."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pytest

from tests.linearizability.checker import Verdict, check_history
from tests.linearizability.generate import register_history, spoil
from tests.linearizability.history import NEVER, UNKNOWN, Op, Recorder
from tests.linearizability.models import (
    AppendListModel,
    CounterModel,
    Model,
    RegisterModel,
)


def op(client: str, kind: str, *args: Any, at: tuple[float, float], result: Any) -> Op:
    return Op(client, "k", kind, args, result, at[0], at[1])


def lost(client: str, kind: str, *args: Any, at: float) -> Op:
    return Op(client, "k", kind, args, UNKNOWN, at, NEVER)


def judge(*ops: Op, model: Model | None = None) -> Verdict:
    return check_history(ops, model or RegisterModel())


def test_refuses_a_stale_read() -> None:
    verdict = judge(
        op("a", "put", "old", at=(0, 1), result=1),
        op("a", "put", "new", at=(2, 3), result=2),
        op("b", "get", at=(4, 5), result=("old", 1)),
    )
    assert verdict.violation


def test_a_read_beside_a_write_may_see_either() -> None:
    for seen in (("old", 1), ("new", 2)):
        verdict = judge(
            op("a", "put", "old", at=(0, 1), result=1),
            op("a", "put", "new", at=(2, 6), result=2),
            op("b", "get", at=(4, 5), result=seen),
        )
        assert verdict.ok, seen


def test_refuses_reads_that_go_back() -> None:
    verdict = judge(
        op("a", "put", "old", at=(0, 1), result=1),
        op("a", "put", "new", at=(2, 9), result=2),
        op("b", "get", at=(3, 4), result=("new", 2)),
        op("c", "get", at=(5, 6), result=("old", 1)),
    )
    assert verdict.violation


def test_refuses_a_lost_update() -> None:
    verdict = judge(
        op("a", "put", "mine", at=(0, 1), result=7),
        op("b", "get", at=(2, 3), result=None),
    )
    assert verdict.violation


def test_refuses_a_put_applied_twice_around_the_put_of_another() -> None:
    verdict = judge(
        op("a", "put", "first", at=(0, 1), result=1),
        op("b", "put", "second", at=(2, 3), result=2),
        op("c", "get", at=(4, 5), result=("first", 3)),
    )
    assert verdict.violation


def test_refuses_a_put_of_unknown_outcome_that_takes_effect_twice() -> None:
    history = [
        lost("a", "put", "first", at=0),
        op("c", "get", at=(2, 3), result=("first", 1)),
        op("b", "put", "second", at=(4, 5), result=2),
    ]
    assert judge(*history).ok
    again = op("c", "get", at=(6, 7), result=("first", 3))
    assert judge(*history, again).violation


def test_a_put_of_unknown_outcome_may_take_effect_late_or_never() -> None:
    history = [
        op("b", "put", "second", at=(2, 3), result=2),
        lost("a", "put", "first", at=0),
        op("c", "get", at=(4, 5), result=("second", 2)),
    ]
    assert judge(*history).ok
    assert judge(*history, op("c", "get", at=(6, 7), result=("first", 3))).ok


def test_refuses_a_read_of_a_value_that_is_lost_afterwards() -> None:
    verdict = judge(
        op("a", "put", "old", at=(0, 1), result=1),
        lost("b", "put", "dirty", at=2),
        op("c", "get", at=(3, 4), result=("dirty", 2)),
        op("c", "get", at=(5, 6), result=("old", 1)),
    )
    assert verdict.violation


def test_refuses_an_entry_that_comes_back_after_its_removal() -> None:
    history = [
        op("a", "put", "x", at=(0, 1), result=1),
        op("a", "delete", at=(2, 3), result=(True, 2)),
    ]
    assert judge(*history, op("b", "get", at=(4, 5), result=None)).ok
    assert judge(*history, op("b", "get", at=(4, 5), result=("x", 1))).violation
    assert judge(*history, op("b", "contains", at=(4, 5), result=True)).violation


def test_refuses_two_winners_of_one_compare_and_set() -> None:
    verdict = judge(
        op("a", "put", "x", at=(0, 1), result=1),
        op("b", "cas", 1, "b", at=(2, 5), result=(True, 2)),
        op("c", "cas", 1, "c", at=(3, 6), result=(True, 3)),
    )
    assert verdict.violation


def test_the_loser_of_a_compare_and_set_sees_the_winner() -> None:
    history = [
        op("a", "put", "x", at=(0, 1), result=1),
        op("b", "cas", 1, "b", at=(2, 5), result=(True, 2)),
    ]
    assert judge(*history, op("c", "cas", 1, "c", at=(3, 6), result=(False, 2))).ok
    assert judge(*history, op("c", "cas", 1, "c", at=(3, 6), result=(False, 1))).violation


def test_refuses_two_winners_of_one_put_if_absent() -> None:
    verdict = judge(
        op("a", "put_if_absent", "a", at=(0, 3), result=(True, 1)),
        op("b", "put_if_absent", "b", at=(1, 4), result=(True, 2)),
    )
    assert verdict.violation


def test_refuses_versions_that_do_not_rise() -> None:
    assert judge(
        op("a", "put", "x", at=(0, 1), result=5),
        op("a", "put", "y", at=(2, 3), result=5),
    ).violation


def test_an_unseen_version_must_fit_between_its_neighbours() -> None:
    history = [
        op("a", "put", "x", at=(0, 1), result=5),
        op("a", "put", "y", at=(2, 3), result=None),
        op("a", "put", "z", at=(4, 5), result=6),
    ]
    assert judge(*history).violation
    assert judge(*history[:2], history[2]._replace(result=7)).ok


def test_an_entry_with_a_time_to_live_may_vanish_but_not_return() -> None:
    history = [
        op("a", "put_ttl", "x", at=(0, 1), result=1),
        op("b", "get", at=(2, 3), result=None),
    ]
    assert judge(*history).ok
    assert judge(*history, op("b", "get", at=(4, 5), result=("x", 1))).violation


def test_keys_are_judged_apart() -> None:
    good = op("a", "put", 1, at=(0, 1), result=1)
    bad = op("b", "get", at=(2, 3), result=("ghost", 9))._replace(key="other")
    verdict = judge(good, bad)
    assert verdict.violation
    assert "'other'" in verdict.counterexample


def test_append_list() -> None:
    model = AppendListModel()
    history = [
        op("a", "append", 1, at=(0, 1), result=1),
        lost("b", "append", 2, at=0.5),
        op("a", "append", 3, at=(2, 3), result=None),
    ]
    assert judge(*history, op("c", "read", at=(4, 5), result=(1, 3)), model=model).ok
    assert judge(*history, op("c", "read", at=(4, 5), result=(1, 2, 3)), model=model).ok
    assert judge(*history, op("c", "read", at=(4, 5), result=(1, 2)), model=model).violation
    assert judge(*history, op("c", "read", at=(4, 5), result=(3, 1)), model=model).violation


def test_counter_counts_an_addition_once() -> None:
    model = CounterModel()
    history = [op("a", "add", 5, at=(0, 1), result=5), lost("b", "add", 2, at=0)]
    for total in (5, 7):
        assert judge(*history, op("c", "read", at=(2, 3), result=total), model=model).ok
    for total in (10, 9, 2):
        assert judge(*history, op("c", "read", at=(2, 3), result=total), model=model).violation


@pytest.mark.parametrize("seed", range(60))
def test_takes_what_a_correct_register_did(seed: int) -> None:
    ops = register_history(seed, operations=120, clients=2 + seed % 6, unknown=(seed % 4) * 0.05)
    verdict = check_history(ops, RegisterModel())
    assert verdict.ok, verdict


def test_most_spoiled_histories_are_refused() -> None:
    outcomes = []
    for seed in range(40):
        ops = register_history(seed, operations=80, clients=4, unknown=0.03)
        outcomes.append(check_history(spoil(ops, seed), RegisterModel(), 50_000).outcome)
    # A read may be turned into one that is right as well, when nothing separates the two.
    assert outcomes.count("violation") >= 25, outcomes


def test_a_long_history_takes_one_visit_an_operation() -> None:
    ops = register_history(1, operations=4000, clients=4, unknown=0.0)
    verdict = check_history(ops, RegisterModel())
    assert verdict.ok
    assert verdict.states < 3 * len(ops)


def test_what_exceeds_the_bound_is_undecided_and_never_ok() -> None:
    ops: list[Op] = [lost(f"w{n}", "put", n, at=0) for n in range(12)]
    ops.append(op("r", "get", at=(1, 2), result=("ghost", 99)))
    verdict = check_history(ops, RegisterModel(), states_max=500)
    assert verdict.outcome == "undecided"
    assert verdict.undecided == ("k",)
    assert not verdict.ok


def test_a_verdict_is_not_a_truth_value() -> None:
    with pytest.raises(TypeError, match="three values"):
        bool(judge(op("a", "put", 1, at=(0, 1), result=1)))


def test_the_counterexample_is_small_and_names_what_is_wrong() -> None:
    ops = register_history(7, operations=200, clients=4, unknown=0.0)
    end = max(each.returned for each in ops)
    ops.append(op("x", "put", "new", at=(end + 1, end + 2), result=10_000))
    ops.append(op("y", "get", at=(end + 3, end + 4), result=("ghost", 10_000)))
    verdict = check_history(ops, RegisterModel())
    assert verdict.violation
    assert len(verdict.ops) <= 3
    assert "get() -> ('ghost', 10000)  <-- cannot be explained" in verdict.counterexample
    assert "whatever came before" in verdict.counterexample


def test_a_recorder_makes_a_history() -> None:
    clock = iter(range(100))
    recorder = Recorder(lambda: next(clock))
    keys: list[Hashable] = ["k", "k", "k"]
    put, read, vanished = (recorder.invoke("c", key, "put", n) for n, key in enumerate(keys))
    put.returned(1)
    read.unknown()
    vanished.failed()
    assert [(each.result, each.invoked, each.returned) for each in recorder.ops] == [
        (1, 0, 3),
        (UNKNOWN, 1, NEVER),
    ]
    assert recorder.failures == 1
