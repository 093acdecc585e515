"""Which way changes go from units to data writers: `pump_transport` of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tupelo.schema import SpaceSchema

from tupelo_grid.config import GridConfig
from tupelo_grid.core.clock import Clock
from tupelo_grid.core.pump_port import PumpSource
from tupelo_grid.messaging.pump import DataPump
from tupelo_grid.messaging.writer import DataWriter
from tupelo_grid.runtime.errors import FatalStartError

if TYPE_CHECKING:
    from tupelo_grid.messaging.nats_writer import NatsWriter


def make_pump(
    config: GridConfig,
    source: PumpSource,
    incarnation: str,
    grid_id: bytes,
    clock: Clock,
    schemas: Mapping[str, SpaceSchema],
) -> DataPump:
    """Arguments as of DataPump. Raises FatalStartError for wrong settings."""
    if config.pump_transport != "nats":
        return DataPump(config, source, incarnation, grid_id, clock, schemas)
    try:
        from tupelo_grid.messaging.nats_pump import NatsPump
    except ModuleNotFoundError as error:
        raise _without_client(error) from error
    return NatsPump(config, source, incarnation, grid_id, clock, schemas)


def make_nats_writer(
    config: GridConfig, writer: DataWriter, grid_id: bytes, name: str, takes_part: bool
) -> NatsWriter:
    """Arguments as of NatsWriter. Raises FatalStartError for wrong settings."""
    try:
        from tupelo_grid.messaging.nats_writer import NatsWriter
    except ModuleNotFoundError as error:
        raise _without_client(error) from error
    return NatsWriter(config, writer, grid_id, name, takes_part)


def _without_client(error: ModuleNotFoundError) -> FatalStartError:
    if error.name is None or error.name.split(".")[0] != "nats":
        raise error
    return FatalStartError(
        "pump_transport is nats, but the NATS client is not installed",
        "pip install 'tupelo[nats]'",
    )
