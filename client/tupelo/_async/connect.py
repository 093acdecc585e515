"""The door: `tupelo.connect`."""

from __future__ import annotations

from collections.abc import Generator
from types import TracebackType
from typing import Any, NoReturn

from tupelo._async.client import Grid
from tupelo.config import ClientConfig
from tupelo.seeds import client_config, seeds_of


class Connecting:
    """A grid that is being connected to: await it, or enter it with `async with`."""

    def __init__(self, seeds: tuple[str, ...], config: ClientConfig) -> None:
        self._grid = Grid(seeds, config)

    def __await__(self) -> Generator[Any, None, Grid]:
        return self._grid.open().__await__()

    def __enter__(self) -> NoReturn:
        raise TypeError(
            "tupelo.connect() is asynchronous: write `async with tupelo.connect(...)`, or "
            "`with tupelo.sync.connect(...)`"
        )

    def __exit__(self, *_: object) -> None:
        """Never reached; without it, `with` would not ask `__enter__`."""

    async def __aenter__(self) -> Grid:
        return await self._grid.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._grid.close()


def connect(
    seed: str, *seeds: str, config: ClientConfig | None = None, **settings: Any
) -> Connecting:
    """Connects to a grid.

        async with tupelo.connect("localhost:7400") as grid: ...
        grid = await tupelo.connect("localhost:7400", timeout_s=2.0)

    Args:
        seed, seeds: "host:port" of routers or units; any one that answers will do. The port may be
            left out (7400).
        config: settings; default `ClientConfig()`.
        settings: single settings, over those of `config`.

    Raises ConnectionLost when no grid answers within `connect_timeout_s`.
    """
    return Connecting(seeds_of(seed, *seeds), client_config(config, settings))
