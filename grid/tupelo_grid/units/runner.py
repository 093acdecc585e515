"""The commands of the loaded processing units, as the core runs them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from tupelo._unit.executor import CommandExecutor
from tupelo.errors import ResultCode
from tupelo.unit import CommandLimits, ProcessingUnit

from tupelo_grid.config import GridConfig
from tupelo_grid.core.commands import PartitionView
from tupelo_grid.core.records import Entry, Mutation, Result

log = logging.getLogger(__name__)

# A command that fails at every call must not spend its unit's time on tracebacks.
TRACEBACK_INTERVAL_MS: Final = 1000
FAILURES_REMEMBERED_MAX: Final = 1024


Missing = Callable[[int, str, bytes], bool]
"""(partition, space, key) -> whether the entry has to be read from the store; it is then asked"""


class NeedsEntry(BaseException):
    """Breaks a command off whose entry is not there yet. No Exception, which it might handle."""


class ThroughView:
    """A partition's view that tells apart what is not there and what has to be read first."""

    __slots__ = ("_missing", "_view", "now_ms", "partition")

    def __init__(self, view: PartitionView, missing: Missing) -> None:
        self._view = view
        self._missing = missing
        self.partition = view.partition
        self.now_ms = view.now_ms

    def get(self, space: str, key: bytes) -> Entry | None:
        entry = self._view.get(space, key)
        if entry is None and self._missing(self.partition, space, key):
            raise NeedsEntry(space)
        return entry

    def items(self, space: str) -> list[tuple[bytes, Entry]]:
        return self._view.items(space)


class UnitRunner:
    """A `tupelo_grid.core.commands.CommandRunner`.

    `partitions`: of the grid, from its GridInfo. `logger` gets the tracebacks of commands that
    break: one per command, kind of exception and second, with the number of those left out.
    """

    def __init__(
        self,
        units: Iterable[ProcessingUnit],
        *,
        partitions: int,
        config: GridConfig,
        logger: logging.Logger = log,
    ) -> None:
        self._logger = logger
        self._executor = CommandExecutor(
            [command for unit in units for command in unit.commands.values()],
            partitions=partitions,
            limits=limits_of(config),
        )
        # Set by the process where spaces are read through.
        self.missing: Missing | None = None
        # (command, exception) -> (time of its last traceback, failures since)
        self._failures: dict[tuple[str, str], tuple[int, int]] = {}

    def knows(self, command: str) -> bool:
        return self._executor.knows(command)

    def run(
        self, command: str, arguments: bytes, view: PartitionView
    ) -> tuple[Result, tuple[Mutation, ...]]:
        if self.missing is not None:
            view = ThroughView(view, self.missing)
        try:
            outcome = self._executor.run(command, arguments, view)
        except NeedsEntry as needed:
            text = f"an entry of space {needed} is read from the store first; try again"
            return (int(ResultCode.NOT_READY), 0, msgspec.msgpack.encode(text)), ()
        if outcome.failure is not None:
            self._log(command, outcome.failure, view)
        return (outcome.code, 0, outcome.value), outcome.mutations

    def _log(self, command: str, failure: BaseException, view: PartitionView) -> None:
        kind = (command, type(failure).__name__)
        last_ms, left_out = self._failures.get(kind, (0, 0))
        if view.now_ms - last_ms < TRACEBACK_INTERVAL_MS:
            self._failures[kind] = (last_ms, left_out + 1)
            return
        if len(self._failures) >= FAILURES_REMEMBERED_MAX:
            self._failures.clear()
        self._failures[kind] = (view.now_ms, 0)
        self._logger.error(
            "command %s broke in partition %d and wrote nothing (%d more like it not logged)",
            command,
            view.partition,
            left_out,
            exc_info=failure,
        )


def limits_of(config: GridConfig) -> CommandLimits:
    return CommandLimits(
        items_max=config.command_items_max,
        bytes_max=config.command_bytes_max,
        key_bytes_max=config.key_bytes_max,
        value_bytes_max=config.value_bytes_max,
        decoded_entries_max=config.decoded_entries_max,
    )
