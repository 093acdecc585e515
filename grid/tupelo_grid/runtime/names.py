"""The names a client may use, and a second look before one is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterator

from tupelo.v1.data_pb2 import SessionRequest

from tupelo_grid.coordinator.keeper import TableKeeper
from tupelo_grid.coordinator.port import StoreError
from tupelo_grid.core.clock import Clock

log = logging.getLogger(__name__)

# A name that was looked up in vain is not looked up again for so long.
FORGET_S = 1.0
REMEMBERED_MAX = 1024


class Names:
    """Spaces and commands by name.

    Args:
        spaces: names of known spaces; kept up to date by its owner.
        knows_command: whether a command is loaded here.
        keeper: asked to read the state store anew when a name is strange.
    """

    def __init__(
        self,
        spaces: Container[str],
        knows_command: Callable[[str], bool],
        keeper: TableKeeper,
        clock: Clock,
    ) -> None:
        self._spaces = spaces
        self._knows_command = knows_command
        self._keeper = keeper
        self._clock = clock
        self._looked_up: dict[str, float] = {}

    def strange(self, request: SessionRequest) -> bool:
        """Whether the frame uses a name that is worth a look at the state store."""
        return any(self._worth_a_look(name) for name in _names(request))

    def _worth_a_look(self, name: str) -> bool:
        if name in self._spaces or self._knows_command(name):
            return False
        return self._clock.now() - self._looked_up.get(name, -FORGET_S) >= FORGET_S

    async def look_up(self, request: SessionRequest) -> None:
        """Reads the state store anew. While it is away, what is known has to do."""
        now = self._clock.now()
        if len(self._looked_up) >= REMEMBERED_MAX:
            self._looked_up.clear()
        self._looked_up |= dict.fromkeys(_names(request), now)
        try:
            await self._keeper.refresh()
        except StoreError as error:
            log.info("a strange name cannot be looked up: %s", error)


def _names(request: SessionRequest) -> Iterator[str]:
    for batch in request.batches:
        yield from batch.targets
        if batch.HasField("bulk"):
            yield batch.bulk.space
