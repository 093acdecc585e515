"""The seam between a partition and application code: what a command may see and do.

The core runs a command by the port below; how Python functions are found, typed and called is the
business of `tupelo_grid.units`.
"""

from __future__ import annotations

from typing import Protocol

from tupelo_grid.core.records import Entry, Mutation, Result


class PartitionView(Protocol):
    """One partition as a command reads it: pending entries included, none past its deadline."""

    @property
    def partition(self) -> int: ...

    @property
    def now_ms(self) -> int:
        """Unix time of the command, the same for all it does."""
        ...

    def get(self, space: str, key: bytes) -> Entry | None: ...

    def items(self, space: str) -> list[tuple[bytes, Entry]]:
        """All live entries of a space in this partition, in no particular order."""
        ...


class CommandRunner(Protocol):
    """Runs application code. Must not block, and must not keep `view` after it returns."""

    def knows(self, command: str) -> bool: ...

    def run(
        self, command: str, arguments: bytes, view: PartitionView
    ) -> tuple[Result, tuple[Mutation, ...]]:
        """Returns the result for the caller, and the writes to commit with it as one record.

        The result's code is OK (value: MessagePack of what the command returned),
        APPLICATION_ERROR (value: MessagePack [code, message, fields]), COMMAND_FAILED,
        INVALID_ARGUMENT or NOT_READY (value: MessagePack text saying why); for all but OK there
        are no writes. NOT_READY counts as if the command had not been run: it may be repeated.
        Never raises for what the application does wrong.
        """
        ...
