"""`tupelo store init`: the tables of the store, before a grid is started on it."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import msgspec
from tupelo.schema import SPACE_NAME, SpaceSchema, decode_schema

from tupelo_grid.cli.output import CliError, ExitCode, say, say_json
from tupelo_grid.cli.settings import load_config, parse_setting, units_given
from tupelo_grid.config import GridConfig
from tupelo_grid.runtime.errors import FatalStartError
from tupelo_grid.store.factory import make_store
from tupelo_grid.store.port import StoreAway
from tupelo_grid.units.loader import load_units

OPTIONS = ("store_url", "data_dir", "spaces")


def init(options: argparse.Namespace) -> int:
    """Raises CliError."""
    given = {name: getattr(options, name) for name in OPTIONS} | units_given(options.unit)
    given |= dict(parse_setting(text) for text in options.set)
    config = load_config(given, options.config)
    try:
        name, actions = asyncio.run(_init(config, _schemas(config, options.schemas)))
    except StoreAway as error:
        raise CliError(ExitCode.UNREACHABLE, str(error)) from error
    except FatalStartError as error:
        raise CliError(ExitCode.USAGE, error.message, error.hint) from error
    for action in actions:
        say(action)
    say(f"{name}: {f'{len(actions)} changes' if actions else 'nothing to do'}", "green")
    if options.json:
        say_json({"store": name, "actions": actions})
    return ExitCode.OK


async def _init(config: GridConfig, schemas: dict[str, SpaceSchema]) -> tuple[str, list[str]]:
    store = make_store(config)
    try:
        return store.name, await store.init(schemas)
    finally:
        await store.close()


def _schemas(config: GridConfig, files: list[str]) -> dict[str, SpaceSchema]:
    """Of all spaces that will be persisted: those of the units, untyped ones, those of files."""
    found = {"default": SpaceSchema("default")}
    for name in config.spaces:
        if SPACE_NAME.fullmatch(name) is None:
            raise CliError(ExitCode.USAGE, f"{name!r} cannot name a space")
        found[name] = SpaceSchema(name)
    found |= load_units(config.unit_paths, config.unit_names).schemas
    for file in files:
        try:
            schema = decode_schema(Path(file).read_bytes())
        except (OSError, msgspec.ValidationError) as error:
            raise CliError(ExitCode.USAGE, f"{file} is no schema of a space: {error}") from error
        found[schema.name] = schema
    return {name: schema for name, schema in found.items() if schema.persist}
