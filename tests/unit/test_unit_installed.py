"""Loading processing units that are installed, by name."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tupelo_grid.cli.output import CliError, ExitCode
from tupelo_grid.cli.settings import load_config, units_given
from tupelo_grid.units.errors import UnitLoadError
from tupelo_grid.units.installed import installed_units, load_installed
from tupelo_grid.units.loader import load_units

from tests.distribution import CODE, install


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path; what is imported from it is forgotten afterwards."""
    before = set(sys.modules)
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    yield folder
    for module in set(sys.modules) - before:
        del sys.modules[module]


def test_an_installed_unit_is_loaded_by_its_name(site: Path) -> None:
    install(site, "plugged", {"plugged": "plugged.unit:unit"})
    units = load_units([], ["plugged"])
    assert [unit.name for unit in units.units] == ["plugged"]
    assert set(units.schemas) == {"plugged-things"}
    assert set(units.command_infos) == {"plugged.make"}
    assert load_installed("plugged") is units.units[0]


def test_nothing_is_imported_that_nobody_asked_for(site: Path) -> None:
    install(site, "unasked", {"unasked": "unasked.unit:unit"}, code="raise SystemExit(3)\n")
    install(site, "asked", {"asked": "asked.unit:unit"})
    assert {"asked", "unasked"} <= set(installed_units())
    assert load_installed("asked").name == "asked"
    assert not [name for name in sys.modules if name.split(".")[0] == "unasked"]


def test_a_name_that_is_not_installed_says_which_are(site: Path) -> None:
    install(site, "ticketing", {"ticketing": "ticketing.unit:unit"})
    with pytest.raises(
        UnitLoadError, match=r"no processing unit named 'ticketin' is installed"
    ) as e:
        load_installed("ticketin")
    assert "these are: " in e.value.message
    assert "ticketing" in e.value.message
    assert e.value.hint.startswith("did you mean ticketing? install the distribution")


def test_without_any_installed_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(UnitLoadError, match="is installed; none is"):
        load_installed("ticketing")


@pytest.mark.parametrize(
    ("point", "code", "words", "hint"),
    [
        ("wrong.unit:not_a_unit", "", "is no ProcessingUnit but a str", '"wrong.unit:unit"'),
        ("wrong.unit", "", "is no ProcessingUnit but a module", "the ProcessingUnit itself"),
        ("wrong.unit:absent", "", "has no 'absent'", "correct it"),
        ("wrong.nowhere:unit", "", "'wrong.nowhere', which does not exist", "correct it"),
        ("wrong.unit:unit", CODE.format(unit="other"), "is ProcessingUnit('other')", "the same"),
        ("wrong.unit:unit", "import a_missing_module\n", "ModuleNotFoundError", "install"),
        ("wrong.unit:unit", "def f():\n    1 / 0\n\n\nf()\n", "unit.py:2 in f: 1 / 0", "correct"),
        ("wrong.unit:unit", "raise SystemExit(0)\n", "SystemExit", "correct the code"),
        ("wrong.unit:unit", "None.absent\n", "'NoneType' object has no attribute", "correct"),
    ],
)
def test_what_cannot_be_loaded_names_its_distribution(
    site: Path, point: str, code: str, words: str, hint: str
) -> None:
    install(site, "wrong", {"wrong": point}, code=code)
    with pytest.raises(UnitLoadError, match=re.escape(words)) as caught:
        load_installed("wrong")
    assert "wrong 1.0" in caught.value.message
    assert hint in caught.value.hint


def test_names_must_be_unique(site: Path, tmp_path: Path) -> None:
    install(site, "first", {"twice": "first.unit:unit"}, unit="twice")
    install(site, "second", {"twice": "second.unit:unit"}, unit="twice")
    with pytest.raises(UnitLoadError, match=r"by first 1\.0 .* and second 1\.0") as caught:
        load_installed("twice")
    assert "uninstall all but one" in caught.value.hint
    install(site, "plugged", {"plugged": "plugged.unit:unit"})
    folder = tmp_path / "folder"
    package = folder / "other"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "unit.py").write_text(CODE.format(unit="plugged"))
    (folder / "unit.toml").write_text('name = "plugged"\npackage = "other"\n')
    with pytest.raises(UnitLoadError, match=rf"'plugged': in {folder} and installed"):
        load_units([folder], ["plugged"])


def test_the_option_takes_folders_and_names(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site, "plugged", {"plugged": "plugged.unit:unit"})
    monkeypatch.chdir(tmp_path)
    here = tmp_path / "here"
    here.mkdir()
    (here / "unit.toml").write_text("")
    config = load_config(units_given(["here", "./here", "plugged"]), environment={})
    assert config.unit_paths == (str(here), str(here))
    assert config.unit_names == ("plugged",)
    config = load_config({}, environment={"TUPELO_UNIT_NAMES": "plugged"})
    assert config.unit_names == ("plugged",)
    with pytest.raises(CliError) as caught:
        load_config(units_given(["plugge"]), environment={})
    assert caught.value.code is ExitCode.USAGE
    assert "did you mean plugged?" in caught.value.hint
