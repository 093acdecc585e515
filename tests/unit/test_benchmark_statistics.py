"""Medians, percentiles, ratios of rounds, key distributions, and the table made of them."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from benchmarks.peers.report import markdown
from benchmarks.peers.results import TARGETS, merged, met, ratios_of, rows_of
from benchmarks.peers.shapes import GROUPS, KEYS, PLAN, YCSB, plan, shapes_of
from benchmarks.peers.statistics import (
    median,
    percentile,
    ratio_of_rounds,
    uniform_keys,
    zipfian_keys,
    zipfian_ranks,
    zipfian_weights,
)

DRAWS = 200_000


def test_medians() -> None:
    assert median([3, 1, 2]) == 2
    assert median([4, 1, 3, 2]) == 2.5
    with pytest.raises(ValueError, match="no values"):
        median([])


def test_percentiles_are_values_that_occurred() -> None:
    values = list(range(1, 101))
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile(values, 1.0) == 100
    assert percentile(values, 0.0) == 1
    assert percentile([7], 0.99) == 7
    assert percentile([], 0.5) == 0


def test_a_ratio_is_taken_round_by_round() -> None:
    """A machine that slows down half-way slows both; the ratio of the medians would not see it."""
    ratio = ratio_of_rounds([100, 50, 60], [10, 5, 20])
    assert (ratio.median, ratio.least, ratio.greatest, ratio.rounds) == (10, 3, 10, 3)
    for ours, theirs in (([1.0], []), ([], []), ([1.0], [0.0])):
        with pytest.raises(ValueError, match="round"):
            ratio_of_rounds(ours, theirs)


def test_zipfian_ranks_follow_the_law() -> None:
    """Each of the most popular ranks within five standard deviations, and the tail as a whole."""
    weights = zipfian_weights(1000)
    assert sum(weights) == pytest.approx(1)
    assert weights[0] / weights[9] == pytest.approx(10**0.99)
    counts = Counter(zipfian_ranks(1000, DRAWS, random.Random(1)))
    assert max(counts) < 1000
    tail = sum(counts[rank] for rank in range(100, 1000))
    seen = [*((counts[rank], weights[rank]) for rank in range(20)), (tail, sum(weights[100:]))]
    for count, share in seen:
        deviation = (DRAWS * share * (1 - share)) ** 0.5
        assert abs(count - DRAWS * share) < 5 * deviation


def test_popular_keys_are_scattered_and_the_same_each_time() -> None:
    keys = zipfian_keys(1000, DRAWS, random.Random(2))
    assert keys == zipfian_keys(1000, DRAWS, random.Random(2))
    popular = [key for key, _ in Counter(keys).most_common(5)]
    assert max(popular) - min(popular) > 50
    assert Counter(keys).most_common(1)[0][1] / DRAWS == pytest.approx(
        zipfian_weights(1000)[0], rel=0.05
    )


def test_uniform_keys_are_equally_likely() -> None:
    counts = Counter(uniform_keys(100, DRAWS, random.Random(3)))
    assert set(counts) == set(range(100))
    assert max(counts.values()) / min(counts.values()) < 1.3


@pytest.mark.parametrize("mix", YCSB)
@pytest.mark.parametrize("distribution", ["zipfian", "uniform"])
def test_a_mix_has_the_shares_of_ycsb(mix: str, distribution: str) -> None:
    steps = plan(f"ycsb-{mix}-{distribution}")
    shares = Counter(step.kind for step in steps)
    for kind, share in zip(("read", "update", "insert", "scan", "modify"), YCSB[mix], strict=True):
        assert shares[kind] / PLAN == pytest.approx(share, abs=0.01)
    assert all(0 <= step.key < KEYS for step in steps)
    assert all(1 <= step.length <= 100 for step in steps if step.kind == "scan")


def test_shapes_are_chosen_by_group_or_name() -> None:
    assert shapes_of(["plain", "get/64/100"]) == GROUPS["plain"]
    assert [shape.name for shape in shapes_of(["get/256/100"])] == ["get/256/100"]
    with pytest.raises(ValueError, match="no shape 'nothing'"):
        shapes_of(["nothing"])


def slices(rates: dict[tuple[str, str], list[float]]) -> dict[Any, Any]:
    return {
        (system, "", shape): [
            {"ops_s": rate, "p50_us": 1e6 / rate, "data_us_op": 3.0, "server_us_op": 5.0}
            for rate in rounds
        ]
        for (system, shape), rounds in rates.items()
    }


RATES: dict[tuple[str, str], list[float]] = {
    ("tupelo", "get/256/100"): [1200, 1000, 1100],
    ("tupelo", "put/256/100"): [500, 400, 600],
    ("tupelo", "get/1/100"): [10, 10, 10],
    ("redis-py", "get/256/100"): [100, 100, 100],
    ("redis-py", "put/256/100"): [100, 100, 100],
    ("redis-py", "get/1/100"): [20, 20, 20],
    ("ray", "get/256/100"): [10, 10, 10],
}


def test_the_worse_of_get_and_put_counts() -> None:
    ratios = ratios_of(rows_of(slices(RATES), "first", "pinned"))
    found = ratios["plain_256_vs_redis_py"]
    assert (found["ratio"], found["least"], found["greatest"]) == (5, 4, 6)
    assert found["shape"] == "put/256/100"
    assert ratios["plain_256_vs_ray"]["ratio"] == 110
    assert ratios["server_us_per_plain_put_256"]["value"] == 3
    assert ratios["all_us_per_plain_put_256"]["value"] == 5
    assert ratios["one_call_p50_get_vs_redis_py"]["value"] == 2
    assert "plain_256_vs_valkey_glide" not in ratios


def test_targets_are_bounds_from_below_and_from_above() -> None:
    assert met("plain_256_vs_redis_py", 10) is True
    assert met("plain_256_vs_redis_py", 9.99) is False
    assert met("server_us_per_plain_put_256", 9.01) is False
    assert met("plain_256_vs_ray", 1) is None
    assert set(TARGETS) >= {"command_10_vs_lua_64", "memory_bytes_per_100_byte_entry"}


def test_runs_are_merged_and_never_compared_with_each_other() -> None:
    """A ratio needs both sides from one run, since another run saw another state of the machine."""
    ours = {key: rates for key, rates in RATES.items() if key[0] == "tupelo"}
    theirs = {key: rates for key, rates in RATES.items() if key[0] != "tupelo"}

    def result(rates: dict[tuple[str, str], list[float]], run: str) -> dict[str, Any]:
        rows = rows_of(slices(rates), run, "pinned")
        return {"machine": {}, "about": {}, "missing": {"olric": "why"}, "rows": rows}

    apart = merged([result(ours, "one"), result(theirs, "two")])
    assert len(apart["rows"]) == len(RATES)
    assert not any("vs" in name for name in apart["ratios"])
    assert apart["missing"] == {"olric": "why"}
    together = merged([result(RATES, "one"), result(ours, "two")])
    assert together["ratios"]["plain_256_vs_redis_py"]["ratio"] == 5


def test_the_table_says_what_is_reached_and_what_is_missing() -> None:
    rows = [
        {**row, "p99_us": 1.0, "client_us_op": 1.0}
        for row in rows_of(slices(RATES), "first", "pinned")
    ]
    machine = {"cpu": "c", "cores": 2, "python": "3", "kernel": "6", "date": "d"}
    text = markdown(
        {
            "machine": machine,
            "about": {},
            "missing": {"olric": "not to be had"},
            "rows": rows,
            "ratios": ratios_of(rows),
        }
    )
    assert "| plain_256_vs_redis_py (`put/256/100`) | 5.0 | 4.0 to 6.0 | >= 10 | **no** |" in text
    assert "Not measured: olric: not to be had" in text
