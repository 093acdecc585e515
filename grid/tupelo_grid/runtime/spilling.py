"""A unit's spilled records: which spaces have them, and how it stands."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cache

from tupelo.schema import SpaceSchema

from tupelo_grid.config import GridConfig
from tupelo_grid.core.spill import Spill
from tupelo_grid.journal_files.spill_files import SpillFiles, spill_path
from tupelo_grid.journal_files.spill_writer import SpillWriter

log = logging.getLogger(__name__)


@cache
def say_unused() -> None:
    """Once."""
    log.warning(
        "some spaces spill, but with durability=disk nothing does: while the store is away, writes "
        "are refused when the journals hold journal_bytes_max"
    )


class Spilling:
    """The files of a running unit. `after` is called when something was read or written."""

    def __init__(
        self,
        spill: Spill,
        config: GridConfig,
        name: str,
        incarnation: str,
        after: Callable[[], None],
    ) -> None:
        self._spill = spill
        files = SpillFiles(spill_path(config, name) / incarnation)
        self.writer = SpillWriter(spill, files, config, after)

    def follow(self, schemas: Mapping[str, SpaceSchema]) -> None:
        """Takes on the spaces there are."""
        self._spill.spaces = frozenset(name for name, one in schemas.items() if one.spill)

    def counters(self) -> dict[str, int]:
        spill = self._spill
        return {
            "spill_bytes": spill.bytes,
            "spill_records": spill.records_held,
            "spill_full": int(bool(spill.trouble)),
            "spill_unreadable": len(spill.damaged),
        }
