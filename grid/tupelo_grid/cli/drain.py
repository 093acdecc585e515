"""`tupelo drain`, and what `tupelo down` says while it drains."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import grpc
from tupelo.v1 import admin_pb2 as pb

from tupelo_grid.cli.output import CliError, ExitCode, counted, human_bytes, say, say_json
from tupelo_grid.cli.rpc import admin_stub, as_cli_error
from tupelo_grid.cli.settings import load_config

PROGRESS_S = 1.0


def drain(options: argparse.Namespace) -> int:
    """Waits until the store has everything that was acknowledged before; the grid goes on."""
    config = load_config({"port": options.port, "host": options.host}, options.config)
    what = f"messaging ({config.messaging_address})"
    timeout_s = config.drain_s if options.timeout is None else options.timeout
    request = pb.DrainStoreRequest(timeout_ms=max(1, round(timeout_s * 1000)))
    last = pb.DrainStoreProgress()
    with admin_stub(config.messaging_address) as stub:
        try:
            said = Said()
            for last in stub.DrainStore(request, timeout=timeout_s + 2 * config.rpc_timeout_s):
                if not last.done and not options.json:
                    said.say(last)
        except grpc.RpcError as error:
            raise as_cli_error(error, what) from error
    if options.json:
        say_json(
            {
                "drained": last.partitions_left == 0,
                "partitions_left": last.partitions_left,
                "records_left": last.records_left,
                "bytes_left": last.bytes_left,
                "elapsed_s": round(last.elapsed_s, 3),
                "cause": last.cause,
            }
        )
    if last.partitions_left:
        cause = last.cause or "the store takes changes more slowly than that"
        raise CliError(
            ExitCode.FAILED,
            f"not drained in {last.elapsed_s:.1f} s: {last.partitions_left} partitions with "
            f"{last.records_left} records are left",
            cause,
            told=options.json,
        )
    if not options.json:
        say(f"the store has everything, after {last.elapsed_s:.1f} s", "green")
    return ExitCode.OK


def words(progress: pb.DrainStoreProgress) -> str:
    cause = f"; {progress.cause}" if progress.cause else ""
    return (
        f"draining: {counted(progress.partitions_left, 'partition')} left, "
        f"{counted(progress.records_left, 'record')} "
        f"({human_bytes(progress.bytes_left)}), {progress.elapsed_s:.1f} s{cause}"
    )


class Said:
    """Says how a drain stands when that is not what it said before; and nothing where all is in the
    store, and only the end is waited for."""

    def __init__(self) -> None:
        self._before: tuple[object, ...] = ()

    def say(self, progress: pb.DrainStoreProgress) -> None:
        now = (progress.partitions_left, progress.records_left, progress.cause)
        if now != self._before and (progress.partitions_left or progress.records_left):
            say(words(progress))
        self._before = now


def watch(call: Any, status: Callable[[], pb.StatusResponse]) -> Any:
    """The answer of a call that drains; meanwhile says now and then what is left."""
    started = time.monotonic()
    said = Said()
    while True:
        try:
            return call.result(timeout=PROGRESS_S)
        except grpc.FutureTimeoutError:
            elapsed_s = time.monotonic() - started
        try:
            pump = status().pump
        except grpc.RpcError:  # only progress is missed: the drain's own call says what went wrong
            continue
        left = sum(1 for lag in pump.lags if lag.committed > lag.cursor)
        said.say(
            pb.DrainStoreProgress(
                partitions_left=left,
                records_left=pump.lag_records,
                bytes_left=pump.lag_bytes,
                elapsed_s=elapsed_s,
                cause=pump.error,
            )
        )
