"""What a demo run found, and the figures made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Demo:
    """What the steps share, and what they found."""

    port: int
    data_dir: Path
    seconds: float
    users: int
    flights: dict[str, Any] = field(default_factory=dict)
    load: list[dict[str, Any]] = field(default_factory=list)
    status: dict[str, Any] = field(default_factory=dict)
    check: dict[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


def total_of(load: list[dict[str, Any]]) -> dict[str, float]:
    """Of all requests that locust reports: counts, rate, percentiles in milliseconds."""
    times: dict[float, int] = {}
    for entry in load:
        for value, count in entry["response_times"].items():
            times[float(value)] = times.get(float(value), 0) + count
    started = min((entry["start_time"] for entry in load), default=0.0)
    ended = max((entry["last_request_timestamp"] or 0.0 for entry in load), default=0.0)
    operations = sum(entry["num_requests"] for entry in load)
    return {
        "operations": operations,
        "failures": sum(entry["num_failures"] for entry in load),
        "ops_s": round(operations / max(0.001, ended - started), 1),
        "p50_ms": percentile(times, 0.50),
        "p99_ms": percentile(times, 0.99),
    }


def percentile(times: dict[float, int], share: float) -> float:
    """From a histogram; 0 when it is empty."""
    left = share * sum(times.values())
    for value in sorted(times):
        left -= times[value]
        if left <= 0:
            return value
    return 0.0


def result_of(demo: Demo) -> dict[str, Any]:
    """The last line."""
    total = total_of(demo.load)
    pump = demo.status["pump"]
    return {
        **total,
        "entries": sum(unit["entries"] for unit in demo.status["units"]),
        "entries_per_unit": {unit["id"]: unit["entries"] for unit in demo.status["units"]},
        "rows": demo.check.get("rows"),
        "lag_records": pump["lag_records"],
        "dead_letters": pump["dead_letters"],
        "mismatches": demo.check["mismatches"],
        "errors": total["failures"] + pump["dead_letters"] + demo.status["partitions"]["lost"],
    }
