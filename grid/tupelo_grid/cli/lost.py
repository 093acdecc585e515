"""What an operator is told of LOST partitions, and how a list of partitions is written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from tupelo_grid.cli.output import CliError, ExitCode
from tupelo_grid.config import GridConfig

NUMBERS = re.compile(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?")
RANGES_SHOWN = 16
PARTITIONS_MAX = 4096


class Patience:
    """A start waits for what is LOST as long as it may still come back by itself: from a disk, or
    from the store. Nothing else does."""

    def __init__(self, config: GridConfig) -> None:
        self._wait_s = 1.0 + 2 * config.lease_s
        self._lost = -1
        self.until = 0.0

    def is_over(self, lost: int, now: float) -> bool:
        if lost != self._lost:
            self._lost, self.until = lost, now + self._wait_s
        return not lost or now >= self.until


def lost_error(status: Any, config: GridConfig, detached: bool) -> CliError | None:
    """What `tupelo up` says of partitions that are LOST; None when none is."""
    lost = status.partitions.lost
    if not lost:
        return None
    port = "" if config.port == GridConfig().port else f" --port {config.port}"
    return CliError(
        ExitCode.FAILED,
        f"{lost} of {status.partitions.total} partitions are LOST, as all that held them are gone: "
        f"{as_ranges(status.lost_partitions)}",
        f"{'the grid runs, and ' if detached else ''}all others serve. Bring those units back; if "
        f"they are gone for good, `tupelo promote --all-lost{port}` goes on with what living units "
        f"hold, and with --from-store with what the store has, after saying what that may lose",
    )


def as_ranges(numbers: Iterable[int]) -> str:
    """[0, 1, 2, 7] as "0-2, 7"; the first ones of many."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    words = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    return ", ".join(words[:RANGES_SHOWN]) + (", ..." if len(words) > RANGES_SHOWN else "")


def parse_ranges(text: str) -> list[int]:
    """ "0-2,7" as [0, 1, 2, 7]. Raises CliError."""
    numbers: set[int] = set()
    for part in text.split(","):
        found = NUMBERS.fullmatch(part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if not first <= last < PARTITIONS_MAX:
            raise CliError(
                ExitCode.USAGE,
                f"{text!r} names no partitions",
                "write one as 17, several as 1-255 or 3,7,20-31, or give --all-lost",
            )
        numbers.update(range(first, last + 1))
    return sorted(numbers)
