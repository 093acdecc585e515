"""What a process that has no partitions needs to know of the grid."""

from __future__ import annotations

import asyncio

from tupelo.schema import SpaceSchema

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.keeper import GridState, TableKeeper
from tupelo_grid.coordinator.port import StoreError
from tupelo_grid.runtime.errors import FatalStartError


async def first_state(keeper: TableKeeper, config: GridConfig) -> GridState:
    """Raises FatalStartError when the control process does not answer in start_timeout_s."""
    try:
        async with asyncio.timeout(config.start_timeout_s):
            return await keeper.wait_for(lambda state: state.grid is not None)
    except TimeoutError as error:
        raise FatalStartError(
            f"the control process at {config.control_address} did not answer in "
            f"{config.start_timeout_s:g} s",
            "start the grid with `tupelo up`, or check the address and the control log",
        ) from error


class Schemas:
    """The declared spaces, for the data writer; `known` is kept fresh."""

    def __init__(self, keeper: TableKeeper) -> None:
        self._keeper = keeper
        self.known: dict[str, SpaceSchema] = {}
        self._take(keeper.state)
        keeper.subscribe(self._take)

    def _take(self, state: GridState) -> None:
        self.known.update(state.spaces)

    async def fetch(self, name: str) -> SpaceSchema | None:
        """A space that was declared a moment ago; None while the control process is away."""
        try:
            state = await self._keeper.refresh()
        except StoreError:
            return None
        return state.spaces.get(name)
