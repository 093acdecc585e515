"""What a start says of LOST partitions, and how long it waits for them."""

from __future__ import annotations

from typing import Any

from tupelo_grid.cli.output import CliError, ExitCode
from tupelo_grid.cli.values import as_ranges
from tupelo_grid.config import GridConfig


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
