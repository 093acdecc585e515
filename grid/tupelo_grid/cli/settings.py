"""A GridConfig from its sources: options over TUPELO_* environment over a TOML file over defaults.

Unknown names and wrong values are errors that say where they stand and what was meant.
"""

from __future__ import annotations

import difflib
import os
import shlex
import tomllib
import types
import typing
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

import tupelo_grid.config
from tupelo_grid.cli.output import CliError, ExitCode
from tupelo_grid.config import GridConfig
from tupelo_grid.core.table import SPACE_NAME
from tupelo_grid.messaging.nats_settings import check_settings
from tupelo_grid.runtime.errors import FatalStartError

CONFIG_FILE = str(tupelo_grid.config.__file__)
ENVIRONMENT_PREFIX = "TUPELO_"
_FIELDS = {field.name: field for field in msgspec.structs.fields(GridConfig)}
_PATHS = (
    "data_dir",
    "unit_paths",
    "store_password_file",
    "nats_password_file",
    "nats_creds_file",
    "nats_ca_file",
)


def load_config(
    options: Mapping[str, Any],
    file: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> GridConfig:
    """Checked, with absolute paths. Those in a file are relative to the file, others to here.

    Args:
        options: field names to values; None for an option that was not given.

    Raises CliError.
    """
    given = {name: value for name, value in options.items() if value is not None}
    _check_secret(given.get("store_url"))
    merged: dict[str, Any] = {}
    merged |= _absolute(_from_file(file), Path(file).resolve().parent) if file else {}
    merged |= _absolute(_from_environment(os.environ if environment is None else environment))
    merged |= _absolute(_checked(given, "option --{}"))
    config = msgspec.convert(merged, GridConfig)
    if "data_dir" not in merged:
        config = msgspec.structs.replace(config, data_dir=str(Path(config.data_dir).resolve()))
    check_config(config)
    return config


def _check_secret(url: object) -> None:
    """A password on a command line is everybody's to read, by `ps`."""
    try:
        secret = isinstance(url, str) and urllib.parse.urlsplit(url).password is not None
    except ValueError:
        return  # no URL at all, as the store will say
    if secret:
        raise CliError(
            ExitCode.USAGE,
            "--store-url has a password in it, which `ps` would show to everybody",
            "leave it out, and give it by store_password_file, PGPASSWORD or TUPELO_STORE_URL",
        )


def parse_setting(text: str) -> tuple[str, Any]:
    """From `--set NAME=VALUE`. Raises CliError."""
    name, separator, value = text.partition("=")
    if not separator:
        raise CliError(ExitCode.USAGE, f"--set {text}: write it as NAME=VALUE")
    name = name.strip().replace("-", "_")
    return name, _from_text(name, value, f"--set {name}")


def units_given(given: Sequence[str] | None) -> dict[str, Any]:
    """The settings that `--unit` values stand for: a folder, or the name of an installed unit.

    What has a `/` or is a folder with a unit.toml is a folder; the rest are names.
    """
    if given is None:
        return {}
    folders = [text for text in given if os.sep in text or (Path(text) / "unit.toml").is_file()]
    return {"unit_paths": folders, "unit_names": [text for text in given if text not in folders]}


def check_config(config: GridConfig) -> None:
    """Raises CliError for values that make no grid."""
    for wrong, message in (
        (not 1 <= config.port <= 65534, "port must be 1 to 65534: the grid uses it and the next"),
        (not 1 <= config.units_max <= 254, "units_max must be 1 to 254"),
        (not 1 <= config.units <= config.units_max, f"units must be 1 to {config.units_max}"),
        (not 1 <= config.partitions <= 4096, "partitions must be 1 to 4096"),
        (not 0 <= config.backups <= 3, "backups must be 0 to 3"),
        (
            not 1 <= config.min_in_sync <= config.backups + 1,
            f"min_in_sync must be 1 to {config.backups + 1}: that many copies there are",
        ),
        (
            config.silent_backup_s >= config.lease_s,
            "silent_backup_s must be below lease_s, or a primary is deposed before its backup is",
        ),
        (
            not 0 <= config.writers <= 32,
            "writers must be 0 to 32: that many share the partitions",
        ),
        (not 0 <= config.routers <= 32, "routers must be 0 to 32"),
        (
            (config.router_port or config.port + 2) + config.routers > 65536,
            "there are not so many ports: lower router_port, port or routers",
        ),
        (
            config.writers > 0 and config.pump_transport != "nats",
            "writers of their own need pump_transport=nats; without it messaging is the writer",
        ),
        (
            config.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"),
            "log_level must be DEBUG, INFO, WARNING or ERROR",
        ),
    ):
        if wrong:
            raise CliError(ExitCode.USAGE, message)
    for name in _FIELDS:
        value = getattr(config, name)
        if isinstance(value, int | float) and value < 0:
            raise CliError(ExitCode.USAGE, f"{name} must not be negative: {value}")
    _check_launchers(config)
    for space in config.spaces:
        if not SPACE_NAME.fullmatch(space):
            raise CliError(
                ExitCode.USAGE,
                f"a space's name is 1 to 128 of A-Z a-z 0-9 _ - . and not {space!r}",
            )
    if config.pump_transport == "nats":
        try:
            check_settings(config)
        except FatalStartError as error:
            raise CliError(ExitCode.USAGE, error.message, error.hint) from error
    _check_units(config)


def _check_units(config: GridConfig) -> None:
    for path in config.unit_paths:
        if not (Path(path) / "unit.toml").is_file():
            raise CliError(
                ExitCode.USAGE,
                f"{path} is no processing unit: there is no unit.toml in it",
                "--unit takes the folder of a processing unit, e.g. processing-units/airline, or "
                "the name of one that is installed",
            )
    if config.unit_names:
        from tupelo_grid.units.installed import check_installed

        try:
            check_installed(config.unit_names)
        except FatalStartError as error:
            for name in config.unit_names:
                if Path(name).is_dir() and name in error.message:
                    raise CliError(
                        ExitCode.USAGE,
                        f"{name} is a folder without a unit.toml, and no unit is installed by "
                        f"that name",
                        "--unit takes the folder of a processing unit, which has a unit.toml in "
                        "it, or the name of one that is installed",
                    ) from error
            raise CliError(ExitCode.USAGE, error.message, error.hint) from error


def _check_launchers(config: GridConfig) -> None:
    for name, launcher in config.launchers.items():
        try:
            shlex.split(launcher)
        except ValueError as error:
            raise CliError(
                ExitCode.USAGE, f"launchers, {name}: {launcher!r} is no command: {error}"
            ) from error


def _from_file(file: str) -> dict[str, Any]:
    try:
        values = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise CliError(ExitCode.USAGE, f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CliError(ExitCode.USAGE, f"{file} is not TOML: {error}") from error
    return _checked(values, file + ", {}")


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for variable, text in environment.items():
        if variable.startswith(ENVIRONMENT_PREFIX):
            name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
            values[name] = _from_text(name, text, f"environment variable {variable}")
    return values


def _checked(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`values` with each converted to its field's type. `where` has {} for the name."""
    checked = {}
    for name, value in values.items():
        _check_name(name, where.format(name.replace("_", "-") if "--" in where else name))
        try:
            checked[name] = msgspec.convert(value, _FIELDS[name].type)
        except msgspec.ValidationError as error:
            raise CliError(ExitCode.USAGE, f"{where.format(name)}: {error}") from error
    return checked


def _from_text(name: str, text: str, where: str) -> Any:
    """Text to the field's type; several values of one field are separated by commas."""
    _check_name(name, where)
    kind = _FIELDS[name].type
    try:
        if _is_tuple(kind):
            return tuple(part for part in text.split(",") if part)
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as error:
        raise CliError(ExitCode.USAGE, f"{where}: {text!r}: {error}") from error


def _is_tuple(kind: Any) -> bool:
    return isinstance(kind, types.GenericAlias) and typing.get_origin(kind) is tuple


def _check_name(name: str, where: str) -> None:
    if name not in _FIELDS:
        near = difflib.get_close_matches(name, _FIELDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"{CONFIG_FILE} explains all"
        raise CliError(ExitCode.USAGE, f"{where}: there is no such setting", hint)


def _absolute(values: dict[str, Any], base: Path | None = None) -> dict[str, Any]:
    base = base or Path.cwd()
    for name in _PATHS:
        value = values.get(name)
        if not value:
            continue
        if isinstance(value, str):
            values[name] = os.path.normpath(base / value)
        else:
            values[name] = tuple(os.path.normpath(base / part) for part in value)
    return values
