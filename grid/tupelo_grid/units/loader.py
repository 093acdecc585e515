"""Loading processing units: from their folders, and those that are installed (installed.py).

    processing-units/airline/
        unit.toml         name = "airline", package = "airline"
        airline/          the package; airline/unit.py has `unit = ProcessingUnit("airline")`

unit.toml:
    name        of the processing unit; the same as in the code
    package     the folder, beside unit.toml, that holds the code; its import name
    module      of the package that declares the unit; default "<package>.unit"
    attribute   of that module that is the ProcessingUnit; default "unit"

The package is put into `sys.modules` under its own name and its submodules are found through it;
`sys.path` is left as it is, so nothing else that lies in the folder becomes importable.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

import msgspec
from tupelo.schema import SpaceSchema
from tupelo.unit import ProcessingUnit

from tupelo_grid.config import GridConfig
from tupelo_grid.units.errors import UnitLoadError, import_failed
from tupelo_grid.units.installed import load_installed
from tupelo_grid.units.runner import UnitRunner

MANIFEST: Final = "unit.toml"


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of unit.toml; see the module."""

    name: str
    package: str
    module: str = ""
    attribute: str = "unit"

    @property
    def module_name(self) -> str:
        return self.module or f"{self.package}.unit"


@dataclass(frozen=True, slots=True)
class LoadedUnits:
    """The processing units that a process runs."""

    units: tuple[ProcessingUnit, ...]

    @property
    def schemas(self) -> dict[str, SpaceSchema]:
        """Declared spaces by name."""
        return {name: space.schema for unit in self.units for name, space in unit.spaces.items()}

    @property
    def command_infos(self) -> dict[str, bytes]:
        """Command name -> JSON {"route": names of the routing arguments, "read_only": bool}."""
        return {
            name: msgspec.json.encode({"route": command.route, "read_only": command.read_only})
            for unit in self.units
            for name, command in unit.commands.items()
        }

    def runner(self, *, partitions: int, config: GridConfig) -> UnitRunner:
        """`partitions`: of the grid, from its GridInfo."""
        return UnitRunner(self.units, partitions=partitions, config=config)


def load_units(paths: Iterable[str | Path], names: Iterable[str] = ()) -> LoadedUnits:
    """Loads folders, then installed units, in order.

    Raises UnitLoadError, also for names that are not unique.
    """
    units: list[ProcessingUnit] = []
    where: dict[str, str] = {}
    folders = [Path(path).resolve() for path in paths]
    loaded = [(load_unit(folder), f"in {folder}") for folder in folders]
    loaded += [(load_installed(name), "installed") for name in names]
    for unit, place in loaded:
        if unit.name in where:
            raise UnitLoadError(
                f"two processing units are named {unit.name!r}: {where[unit.name]} and {place}",
                "rename one, or load only one",
            )
        where[unit.name] = place
        units.append(unit)
    check_spaces(units)
    return LoadedUnits(tuple(units))


def check_spaces(units: Iterable[ProcessingUnit]) -> None:
    """Raises UnitLoadError where two units declare a space of one name."""
    owners: dict[str, str] = {}
    for unit in units:
        for space in unit.spaces:
            if space in owners:
                raise UnitLoadError(
                    f"the units {owners[space]!r} and {unit.name!r} both declare space {space!r}",
                    "rename one of the spaces, or import the other unit's declaration",
                )
            owners[space] = unit.name


def load_unit(path: str | Path) -> ProcessingUnit:
    """Loads one folder; once more is the same unit again. Raises UnitLoadError."""
    folder = Path(path).resolve()
    manifest = read_manifest(folder)
    module_name = manifest.module_name
    module = _import(folder, manifest)
    unit = getattr(module, manifest.attribute, None)
    if not isinstance(unit, ProcessingUnit):
        raise UnitLoadError(
            f"{module_name} has no ProcessingUnit named {manifest.attribute!r}",
            f"declare `{manifest.attribute} = ProcessingUnit({manifest.name!r})` in it, or set "
            f"`attribute` in {folder / MANIFEST}",
        )
    if unit.name != manifest.name:
        raise UnitLoadError(
            f"{folder / MANIFEST} says name = {manifest.name!r}, but the code declares "
            f"ProcessingUnit({unit.name!r})",
            "make them the same",
        )
    return unit


def read_manifest(folder: Path) -> Manifest:
    """Raises UnitLoadError for a folder without a sound unit.toml."""
    path = folder / MANIFEST
    if not folder.is_dir():
        raise UnitLoadError(f"{folder} is not a folder", f"name the one that has the {MANIFEST}")
    try:
        manifest = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Manifest)
    except FileNotFoundError:
        raise UnitLoadError(
            f"{folder} has no {MANIFEST}", 'write one with name = "..." and package = "..."'
        ) from None
    except OSError as error:
        raise UnitLoadError(f"{path} cannot be read: {error.strerror}", "check it") from error
    except UnicodeDecodeError as error:
        raise UnitLoadError(f"{path} is not UTF-8 text: {error}", "save it as UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UnitLoadError(f"{path} is not TOML: {error}", "correct that line") from error
    except msgspec.ValidationError as error:
        raise UnitLoadError(
            f"{path}: {error}",
            'it holds name = "...", package = "..." and, where they are not the defaults, '
            'module = "..." and attribute = "..."',
        ) from error
    _check_names(path, manifest)
    return manifest


def _check_names(path: Path, manifest: Manifest) -> None:
    package = manifest.package
    if not package.isidentifier():
        raise UnitLoadError(
            f"{path}: package = {package!r} is not an import name", "use letters, digits and _"
        )
    if package in sys.stdlib_module_names:
        raise UnitLoadError(
            f"{path}: package {package!r} would hide Python's own module", "rename it"
        )
    module = manifest.module_name
    if module != package and not module.startswith(f"{package}."):
        raise UnitLoadError(
            f"{path}: module {module!r} is not in package {package!r}",
            f"name one that begins with `{package}.`",
        )


def _import(folder: Path, manifest: Manifest) -> ModuleType:
    package, name = manifest.package, manifest.module_name
    fresh = package not in sys.modules
    try:
        _import_package(folder, package)
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if fresh:
            # Half a package must not be found by the next attempt.
            for module in [module for module in sys.modules if module.split(".")[0] == package]:
                del sys.modules[module]
        if isinstance(error, UnitLoadError):
            raise
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            raise UnitLoadError(
                f"{folder / MANIFEST} names module {name!r}, which does not exist",
                "set `module` to the one that declares the ProcessingUnit",
            ) from None
        raise import_failed(
            f"{name} from {folder}", error, lambda file: file.is_relative_to(folder)
        ) from error


def _import_package(folder: Path, package: str) -> None:
    """Under its own name. Raises UnitLoadError, and whatever its code raises."""
    source = folder / package
    known = sys.modules.get(package)
    if known is not None:
        places = [Path(place).resolve() for place in getattr(known, "__path__", [])]
        if source in places:
            return
        raise UnitLoadError(
            f"the package {package!r} of {folder} cannot be loaded, because that name is taken by "
            f"{getattr(known, '__file__', None) or places}",
            "rename the package",
        )
    initial = source / "__init__.py"
    if not initial.is_file():
        raise UnitLoadError(
            f"{folder / MANIFEST} names package {package!r}, but {initial} does not exist",
            "create it, or correct `package`",
        )
    spec = importlib.util.spec_from_file_location(
        package, initial, submodule_search_locations=[str(source)]
    )
    assert spec is not None, "a .py file always has a spec"
    assert spec.loader is not None, "and a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[package] = module
    spec.loader.exec_module(module)
