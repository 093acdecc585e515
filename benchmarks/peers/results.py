"""Rows and ratios of a run, and several runs put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from benchmarks.peers.rounds import Slices
from benchmarks.peers.statistics import median, ratio_of_rounds

OURS: Final = "tupelo"

Row = dict[str, Any]


def rows_of(slices: Slices, run: str, placement: str) -> list[Row]:
    """One row for each system, way and shape: medians over the rounds, and the rounds."""
    return [
        {
            "system": system,
            "way": way,
            "shape": shape,
            "placement": placement,
            "run": run,
            **{name: round(median([one[name] for one in found]), 2) for name in found[0]},
            "rounds": [round(one["ops_s"]) for one in found if "ops_s" in one],
        }
        for (system, way, shape), found in slices.items()
    ]


# Lines of the table: name, our (way, shapes), their (system, way, shapes). Of several shapes the
# one that is worst for us counts.
Line = tuple[str, str, tuple[str, ...], str, str]

PLAIN_256: Final = ("get/256/100", "put/256/100")
PLAIN_64: Final = ("get/64/100", "put/64/100")
BATCH: Final = ("get_many/4/100", "put_many/4/100")
BATCH_ONE: Final = ("get_many/1/100", "put_many/1/100")
ONE: Final = ("get/1/100", "put/1/100")

LINES: Final[tuple[Line, ...]] = (
    ("plain_256_vs_redis_py", "", PLAIN_256, "redis-py", ""),
    ("plain_256_vs_valkey_glide", "", PLAIN_256, "valkey-glide", ""),
    ("plain_256_vs_asynctnt", "", PLAIN_256, "asynctnt", ""),
    ("plain_64_vs_redis_py", "", PLAIN_64, "redis-py", ""),
    ("plain_64_vs_valkey_glide", "", PLAIN_64, "valkey-glide", ""),
    ("plain_64_vs_asynctnt", "", PLAIN_64, "asynctnt", ""),
    ("batch_1000_vs_redis_py_pipeline", "", BATCH, "redis-py", ""),
    ("batch_1000_vs_valkey_glide_batch", "", BATCH, "valkey-glide", ""),
    ("batch_1000_vs_redis_py_mset", "", BATCH, "redis-py-mset", ""),
    ("batch_1000_one_vs_redis_py_pipeline", "", BATCH_ONE, "redis-py", ""),
    ("batch_1000_one_vs_valkey_glide_batch", "", BATCH_ONE, "valkey-glide", ""),
    ("command_10_vs_remote_64", "command", ("collocate/64/100",), OURS, "get+compare_and_set"),
    ("command_10_vs_remote_many_64", "command", ("collocate/64/100",), OURS, "get_many+put_many"),
    ("command_10_vs_lua_64", "command", ("collocate/64/100",), "redis-py", "lua"),
    ("command_10_vs_watch_64", "command", ("collocate/64/100",), "redis-py", "watch/multi"),
    ("command_10_vs_postgres_64", "command", ("collocate/64/100",), "postgres", "for update"),
    ("command_10_vs_remote_1", "command", ("collocate/1/100",), OURS, "get+compare_and_set"),
    ("command_10_vs_lua_1", "command", ("collocate/1/100",), "redis-py", "lua"),
)

TARGETS: Final[dict[str, str]] = {
    "plain_256_vs_redis_py": ">= 10",
    "plain_256_vs_valkey_glide": ">= 4",
    "plain_256_vs_asynctnt": ">= 2",
    "plain_64_vs_redis_py": ">= 5",
    "plain_64_vs_valkey_glide": ">= 2",
    "batch_1000_vs_redis_py_pipeline": ">= 10",
    "batch_1000_vs_valkey_glide_batch": ">= 5",
    "server_us_per_plain_put_256": "<= 9",
    "server_us_per_entry_put_many_1000": "<= 4",
    "one_call_p50_get_vs_redis_py": "<= 3",
    "one_call_p50_put_vs_redis_py": "<= 3",
    "command_10_vs_remote_64": ">= 20",
    "command_10_vs_lua_64": ">= 5",
    "memory_bytes_per_100_byte_entry": "<= 350",
}


def ratios_of(rows: list[Row]) -> dict[str, Any]:
    """Name -> {"ratio", "least", "greatest", "of", "shape"}, as far as the rows allow; figures that
    are no ratios have "value" instead. Both sides of a ratio are of the same run and placement."""
    found: dict[str, Any] = {}
    for line in LINES:
        ratio = _worst(rows, line)
        if ratio:
            found[line[0]] = ratio
    found |= _peers(rows)
    found |= _figures(rows)
    return found


def met(name: str, value: float) -> bool | None:
    """Whether a target is reached; None where there is none."""
    if name not in TARGETS:
        return None
    sign, bound = TARGETS[name].split()
    return value >= float(bound) if sign == ">=" else value <= float(bound)


def _worst(rows: list[Row], line: Line) -> Row | None:
    _, our_way, shapes, peer, their_way = line
    candidates = [
        {
            "ratio": round(ratio.median, 2),
            "least": round(ratio.least, 2),
            "greatest": round(ratio.greatest, 2),
            "shape": shape,
            "placement": mine["placement"],
        }
        for shape in shapes
        for mine, other in _pairs(rows, shape, our_way, peer, their_way)
        for ratio in [ratio_of_rounds(mine["rounds"], other["rounds"])]
    ]
    return min(candidates, key=lambda one: one["ratio"]) if candidates else None


def _pairs(
    rows: list[Row], shape: str, our_way: str, peer: str, their_way: str
) -> list[tuple[Row, Row]]:
    mine = {_place(row): row for row in _find(rows, OURS, our_way, shape)}
    return [
        (mine[_place(other)], other)
        for other in _find(rows, peer, their_way, shape)
        if _place(other) in mine
    ]


def _find(rows: list[Row], system: str, way: str, shape: str) -> list[Row]:
    wanted = (system, way, shape)
    return [row for row in rows if (row["system"], row["way"], row["shape"]) == wanted]


def _place(row: Row) -> tuple[str, str]:
    return row["run"], row["placement"]


def _peers(rows: list[Row]) -> dict[str, Any]:
    """Every other peer at 256 and at 64 plain calls, as far as the lines above do not name it."""
    named = {(line[3], line[2]) for line in LINES}
    found = {}
    for peer in dict.fromkeys(row["system"] for row in rows if row["system"] != OURS):
        for depth, shapes in (("256", PLAIN_256), ("64", PLAIN_64)):
            name = f"plain_{depth}_vs_{peer.replace('-', '_')}"
            ratio = _worst(rows, (name, "", shapes, peer, ""))
            if ratio and (peer, shapes) not in named:
                found[name] = ratio
    return found


def _figures(rows: list[Row]) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def note(name: str, shape: str, value: Callable[[Row], float]) -> None:
        values = [value(row) for row in _find(rows, OURS, "", shape)]
        if values:
            # Of several runs and placements the worst.
            found[name] = {"value": round(max(values), 2), "shape": shape}

    note("server_us_per_plain_put_256", "put/256/100", lambda row: row["data_us_op"])
    note("server_us_per_plain_get_256", "get/256/100", lambda row: row["data_us_op"])
    note("server_us_per_entry_put_many_1000", "put_many/4/100", lambda row: row["data_us_op"])
    note("server_us_per_entry_get_many_1000", "get_many/4/100", lambda row: row["data_us_op"])
    note("all_us_per_plain_put_256", "put/256/100", lambda row: row["server_us_op"])
    note("memory_bytes_per_100_byte_entry", "memory/1/100", lambda row: row["bytes_entry"])
    for shape in ONE:
        op = shape.partition("/")[0]
        ratios = [
            mine["p50_us"] / other["p50_us"]
            for mine, other in _pairs(rows, shape, "", "redis-py", "")
        ]
        if ratios:
            name = f"one_call_p50_{op}_vs_redis_py"
            found[name] = {"value": round(max(ratios), 2), "shape": shape}
    return found


def merged(runs: list[Row]) -> Row:
    """Several results as one; a later run takes the place of an earlier one's equal rows."""
    rows: dict[tuple[str, ...], Row] = {}
    about: Row = {}
    missing: Row = {}
    for run in runs:
        about |= run["about"]
        missing |= run["missing"]
        for row in run["rows"]:
            # A ratio needs both sides from one run, so runs stay apart.
            key = tuple(row[name] for name in ("run", "system", "way", "shape", "placement"))
            rows[key] = row
    missing = {name: why for name, why in missing.items() if name not in about}
    result = {"machine": runs[-1]["machine"], "about": about, "missing": missing}
    return {**result, "rows": list(rows.values()), "ratios": ratios_of(list(rows.values()))}
