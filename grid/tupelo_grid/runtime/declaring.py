"""Declares what a unit has loaded, for all of the grid."""

from __future__ import annotations

from tupelo.schema import encode_schema, same_schema

from tupelo_grid.coordinator.port import StateStore, StoreError
from tupelo_grid.core.minimums import impossible
from tupelo_grid.core.table import command_key, space_key
from tupelo_grid.runtime.errors import FatalStartError
from tupelo_grid.units.loader import LoadedUnits


async def publish(store: StateStore, units: LoadedUnits, backups: int) -> None:
    """Declares the loaded spaces and commands at the state store, for routers, SDKs and the writer.

    Raises FatalStartError when a space is declared otherwise already, or wants more copies than
    there are with `backups`.
    """
    for name, schema in units.schemas.items():
        wrong = impossible(name, schema.min_in_sync, backups)
        if wrong:
            raise FatalStartError(wrong, "declare it otherwise, or start with more backups")
    wanted = {space_key(name): encode_schema(one) for name, one in units.schemas.items()}
    wanted |= {command_key(name): info for name, info in units.command_infos.items()}
    for key, value in wanted.items():
        try:
            result = await store.txn([(key, 0)], {key: value})
            known = result.current.get(key)
        except StoreError as error:
            raise FatalStartError(
                f"{key} cannot be declared: {error}", "check the control process's log"
            ) from error
        if result.succeeded or known is None or _same(key, known.value, value):
            continue
        if key.startswith("space/"):
            raise FatalStartError(
                f"{key} is declared otherwise in this grid: {known.value.decode()}",
                "give the changed space a new name; spaces are not migrated in place",
            )
        await store.txn([(key, known.revision)], {key: value})


def _same(key: str, one: bytes, other: bytes) -> bool:
    return one == other or (key.startswith("space/") and same_schema(one, other))
