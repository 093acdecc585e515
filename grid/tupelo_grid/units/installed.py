"""Processing units that are installed with Python's own tools, and loaded by name.

A distribution that has one names it in the entry-point group `tupelo.units`:

    [project.entry-points."tupelo.units"]
    ticketing = "ticketing.unit:unit"       # module : attribute that is the ProcessingUnit

The name is that of the unit, as its commands have it in front. Nothing of a distribution is
imported before its unit is asked for by `--unit NAME`.
"""

from __future__ import annotations

import difflib
import sysconfig
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final

from tupelo.unit import ProcessingUnit

from tupelo_grid.units.errors import UnitLoadError, import_failed

GROUP: Final = "tupelo.units"

_STANDARD_LIBRARY: Final = Path(sysconfig.get_paths()["stdlib"])
_SITE_PACKAGES: Final = "site-packages"


def installed_units() -> dict[str, list[EntryPoint]]:
    """Entry points by name. More than one of a name: distributions that disagree about it."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        same = found.setdefault(point.name, [])
        # An editable installation may be found by two ways.
        if all(point.value != other.value for other in same):
            same.append(point)
    return dict(sorted(found.items()))


def check_installed(names: Iterable[str]) -> None:
    """Without importing anything. Raises UnitLoadError."""
    names = tuple(names)
    known = installed_units() if names else {}
    for name in names:
        _find(name, known)


def load_installed(name: str) -> ProcessingUnit:
    """Imports and returns an installed unit. Raises UnitLoadError that names its distribution."""
    point = _find(name, installed_units())
    where = f"{point.value} of {_distribution(point)}"
    try:
        unit = point.load()
    except AttributeError as error:
        if error.obj is None or error.name not in point.attr.split("."):
            raise _failed(point, where, error) from error
        raise UnitLoadError(
            f"{point.module} of {_distribution(point)} has no {point.attr!r}, which the entry "
            f"point {name!r} names",
            f'correct it in [project.entry-points."{GROUP}"] and install it again',
        ) from None
    except (Exception, SystemExit) as error:
        raise _failed(point, where, error) from error
    if not isinstance(unit, ProcessingUnit):
        raise UnitLoadError(
            f"{where}, the entry point {name!r}, is no ProcessingUnit but a "
            f"{type(unit).__qualname__}",
            f'[project.entry-points."{GROUP}"] names the ProcessingUnit itself: {name} = '
            f'"{point.module}:unit"',
        )
    if unit.name != name:
        raise UnitLoadError(
            f"the entry point {name!r} of {_distribution(point)} is ProcessingUnit({unit.name!r})",
            "make the names the same: commands are called by the unit's",
        )
    return unit


def _find(name: str, known: dict[str, list[EntryPoint]]) -> EntryPoint:
    points = known.get(name, [])
    if not points:
        near = difflib.get_close_matches(name, known, n=1)
        raise UnitLoadError(
            f"no processing unit named {name!r} is installed; "
            + (f"these are: {', '.join(known)}" if known else "none is"),
            (f"did you mean {near[0]}? " if near else "")
            + "install the distribution that has it where the grid runs, or give the folder of "
            "a unit (one with a unit.toml)",
        )
    if len(points) > 1:
        owners = " and ".join(sorted(f"{_distribution(one)} ({one.value})" for one in points))
        raise UnitLoadError(
            f"the processing unit {name!r} is installed more than once: by {owners}",
            "uninstall all but one of them",
        )
    return points[0]


def _failed(point: EntryPoint, where: str, error: BaseException) -> UnitLoadError:
    if isinstance(error, ModuleNotFoundError) and error.name == point.module:
        return UnitLoadError(
            f"the entry point {point.name!r} of {_distribution(point)} names module "
            f"{point.module!r}, which does not exist",
            f'correct it in [project.entry-points."{GROUP}"] and install it again',
        )
    return import_failed(where, error, _is_application)


def _is_application(file: Path) -> bool:
    """Neither Python's own file nor frozen, such as the import machinery."""
    if not file.is_absolute():
        return False
    own = file.is_relative_to(_STANDARD_LIBRARY) and _SITE_PACKAGES not in file.parts
    return not own and not file.is_relative_to(Path(__file__).parent)


def _distribution(point: EntryPoint) -> str:
    dist = point.dist
    return f"{dist.name} {dist.version}" if dist is not None else "an unknown distribution"
