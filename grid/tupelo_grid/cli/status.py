"""`tupelo status`."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from tupelo.v1 import admin_pb2

from tupelo_grid.cli.loads import load_words
from tupelo_grid.cli.output import (
    CliError,
    ExitCode,
    human_bytes,
    is_rich,
    say,
    say_json,
    say_warning,
    show_table,
)
from tupelo_grid.cli.rpc import status_of, unresolved
from tupelo_grid.cli.settings import load_config

UNIT_COLUMNS = (
    "unit",
    "address",
    "state",
    "primaries",
    "backups",
    "entries",
    "memory",
    "lag",
    "journal",
    "cpu s",
)


LAG_COLUMNS = ("partition", "committed", "in store", "behind", "bytes", "seconds")


def status(options: argparse.Namespace) -> int:
    config = load_config({"port": options.port, "host": options.host}, options.config)
    while True:
        started = time.monotonic()
        response = status_of(config.host, config.port, options.timeout, options.lags)
        if response is None and (host := unresolved(f"{config.host}:{config.port}")):
            raise CliError(ExitCode.UNREACHABLE, f"there is no host named {host}")
        if response is None:
            raise CliError(
                ExitCode.UNREACHABLE,
                f"no grid answers on {config.host}:{config.port} (messaging) "
                f"or {config.port + 1} (control)",
                "start one with `tupelo up`, or name its port with --port N",
            )
        if options.watch is not None and is_rich():
            sys.stdout.write("\x1b[H\x1b[2J")
        show(response, options.json)
        if options.watch is None:
            return ExitCode.OK
        time.sleep(max(0.0, options.watch - (time.monotonic() - started)))


def show(response: admin_pb2.StatusResponse, as_json: bool) -> None:
    if as_json:
        say_json(as_dict(response))
        return
    parts = response.partitions
    show_table(UNIT_COLUMNS, [_unit_row(unit) for unit in response.units], right=3, spare=3)
    say(
        f"partitions  {parts.healthy} of {parts.total} healthy, {parts.under_replicated} "
        f"under-replicated, {parts.lost} lost, {not_ready(parts)} not ready, {parts.moving} moving",
        "green" if parts.healthy == parts.total else "yellow",
    )
    if response.routers:
        states = ", ".join(f"{one.id} {one.address} {one.state}" for one in response.routers)
        fine = all(one.state == "serving" for one in response.routers)
        say(f"routers     {states}", "green" if fine else "yellow")
    if words := load_words(response.units):
        say(f"cold start  {words}", "yellow")
    pump = response.pump
    say(
        f"store       {pump.store or 'unknown'}: {pump.lag_records} changes behind "
        f"({human_bytes(pump.lag_bytes)}, {pump.lag_s:.1f} s{_furthest(pump)}), "
        f"{pump.dead_letters} dead letters"
    )
    if pump.lags:
        show_table(LAG_COLUMNS, [_lag_row(lag) for lag in pump.lags])
    say(
        f"grid        {response.grid_id}, table {response.table_version}, tupelo {response.version}"
    )
    for warning in response.warnings:
        say_warning(warning)


def _furthest(pump: admin_pb2.PumpStatus) -> str:
    if not pump.lag_records_max:
        return ""
    return f"; partition {pump.lag_partition} {pump.lag_records_max}"


def not_ready(parts: admin_pb2.PartitionSummary) -> int:
    """Partitions without a primary that answers: starting, or failing over."""
    return max(0, parts.total - parts.healthy - parts.under_replicated - parts.lost)


def as_dict(response: admin_pb2.StatusResponse) -> dict[str, Any]:
    """What `status --json` prints."""
    parts, pump = response.partitions, response.pump
    return {
        "grid_id": response.grid_id,
        "version": response.version,
        "table_version": response.table_version,
        "control": response.control_address,
        "units": [_unit_dict(unit) for unit in response.units],
        "partitions": {
            "total": parts.total,
            "healthy": parts.healthy,
            "under_replicated": parts.under_replicated,
            "lost": parts.lost,
            "moving": parts.moving,
            "not_ready": not_ready(parts),
        },
        "pump": {
            "lag_records": pump.lag_records,
            "lag_bytes": pump.lag_bytes,
            "lag_s": round(pump.lag_s, 3),
            "lag_records_max": pump.lag_records_max,
            "lag_bytes_max": pump.lag_bytes_max,
            "lag_partition": pump.lag_partition,
            "stopped_partitions": list(pump.stopped_partitions),
            "partitions": [_lag_dict(lag) for lag in pump.lags],
            "dead_letters": pump.dead_letters,
            "persisted_records": pump.persisted_records,
            "store": pump.store,
            "error": pump.error,
        },
        "routers": [
            {"id": one.id, "address": one.address, "state": one.state} for one in response.routers
        ],
        "warnings": list(response.warnings),
        "lost_partitions": list(response.lost_partitions),
    }


def _unit_dict(unit: admin_pb2.UnitStatus) -> dict[str, Any]:
    return {
        "id": unit.id,
        "incarnation": unit.incarnation,
        "address": unit.address,
        "state": unit.state,
        "pid": unit.pid,
        "primaries": unit.primaries,
        "backups": unit.backups,
        "ready": len(unit.ready_partitions),
        "entries": unit.entries,
        "memory_bytes": unit.memory_bytes,
        "lag_records": unit.lag_records,
        "lag_bytes": unit.lag_bytes,
        "lag_s": round(unit.lag_s, 3),
        "journal_bytes": unit.journal_bytes,
        "load": {
            "partitions_left": unit.load.partitions_left,
            "partitions_done": unit.load.partitions_done,
            "entries": unit.load.entries,
            "error": unit.load.error,
        },
        "cpu_s": round(unit.cpu_s, 3),
        "counters": dict(sorted(unit.counters.items())),
    }


def _lag_dict(lag: admin_pb2.PartitionLag) -> dict[str, Any]:
    return {
        "partition": lag.partition,
        "epoch": lag.epoch,
        "committed": lag.committed,
        "cursor": lag.cursor,
        "lag_records": max(0, lag.committed - lag.cursor),
        "lag_bytes": lag.bytes,
        "lag_s": round(lag.seconds, 3),
        "problem": lag.problem,
    }


def _lag_row(lag: admin_pb2.PartitionLag) -> tuple[object, ...]:
    behind = max(0, lag.committed - lag.cursor)
    return (lag.partition, lag.committed, lag.cursor, behind, human_bytes(lag.bytes), lag.seconds)


def _unit_row(unit: admin_pb2.UnitStatus) -> tuple[object, ...]:
    return (
        unit.id,
        unit.address,
        unit.state,
        unit.primaries,
        unit.backups,
        unit.entries,
        human_bytes(unit.memory_bytes),
        unit.lag_records,
        human_bytes(unit.journal_bytes),
        unit.cpu_s,
    )
