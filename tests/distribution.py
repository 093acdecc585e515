"""A small distribution with processing units, as pip leaves it: a package and a dist-info."""

from __future__ import annotations

from pathlib import Path

CODE = """
from tupelo.unit import Entry, ProcessingUnit

unit = ProcessingUnit("{unit}")
not_a_unit = "airline"

class Thing(Entry, frozen=True):
    key: str
    number: int = 7

things = unit.space("{unit}-things", Thing, key="key")

@unit.command(route="key")
def make(key: str) -> int:
    return things.put(Thing(key)).number
"""


def install(site: Path, name: str, units: dict[str, str], code: str = "", unit: str = "") -> Path:
    """Puts the distribution `name` 1.0 and its package of that name into the folder `site`.

    Args:
        units: the entry points: unit name -> "module:attribute".
        code: of the package's module `unit`; by default one unit named `unit`, or else `name`.

    Returns the package's folder. `site` has to be on the path.
    """
    package = site / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "unit.py").write_text(code or CODE.format(unit=unit or name))
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    points = [f"{point} = {value}" for point, value in units.items()]
    (info / "entry_points.txt").write_text("\n".join(["[tupelo.units]", *points, ""]))
    return package
