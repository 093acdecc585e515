"""Loading processing units by path, and running what was loaded."""

import logging
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tupelo.errors import ResultCode
from tupelo.testing import LocalPartition
from tupelo_grid.config import GridConfig
from tupelo_grid.core.commands import CommandRunner
from tupelo_grid.units.loader import LoadedUnits, UnitLoadError, load_unit, load_units

CODE = """
from tupelo.unit import Entry, ProcessingUnit
from {package}.helper import NUMBER

unit = ProcessingUnit("{name}")

class Thing(Entry, frozen=True):
    key: str
    number: int = NUMBER

things = unit.space("{space}", Thing, key="key", ttl_s=5)

@unit.command(route="key")
def make(key: str) -> int:
    return things.put(Thing(key)).number

@unit.command(route="key", read_only=True)
def fail(key: str) -> None:
    raise ValueError(key)
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Writes a folder of a processing unit; what it imports is forgotten afterwards."""
    before = set(sys.modules)

    def folder(
        package: str,
        name: str = "",
        space: str = "",
        manifest: str | None = None,
        code: str = CODE,
        initial: str = "",
    ) -> Path:
        name = name or package
        root = tmp_path / f"folder-{package}-{name}"
        (root / package).mkdir(parents=True)
        text = manifest if manifest is not None else f'name = "{name}"\npackage = "{package}"\n'
        (root / "unit.toml").write_text(text)
        (root / package / "__init__.py").write_text(initial)
        (root / package / "helper.py").write_text("NUMBER = 7\n")
        filled = code.format(package=package, name=name, space=space or f"{package}-things")
        (root / package / "unit.py").write_text(filled)
        return root

    yield folder
    for module in set(sys.modules) - before:
        del sys.modules[module]


def runner_of(units: LoadedUnits, **settings: Any) -> CommandRunner:
    return units.runner(partitions=1, config=GridConfig(**settings))


def test_a_folder_is_loaded_and_runs(write: Write) -> None:
    path = list(sys.path)
    units = load_units([write("loaded_a"), str(write("loaded_b"))])
    assert sys.path == path
    assert [unit.name for unit in units.units] == ["loaded_a", "loaded_b"]
    assert set(units.schemas) == {"loaded_a-things", "loaded_b-things"}
    assert units.schemas["loaded_a-things"].ttl_ms == 5000
    infos = {name: msgspec.json.decode(info) for name, info in units.command_infos.items()}
    assert infos == {
        "loaded_a.make": {"route": ["key"], "read_only": False},
        "loaded_a.fail": {"route": ["key"], "read_only": True},
        "loaded_b.make": {"route": ["key"], "read_only": False},
        "loaded_b.fail": {"route": ["key"], "read_only": True},
    }
    runner = runner_of(units)
    assert runner.knows("loaded_b.make")
    assert not runner.knows("loaded_b.break")
    view = LocalPartition(0)
    view.now_ms = 1000
    arguments = msgspec.msgpack.encode({"key": "k"})
    result, mutations = runner.run("loaded_b.make", arguments, view)
    assert result == (ResultCode.OK, 0, b"\x07")
    value = msgspec.msgpack.encode({"key": "k", "number": 7})
    assert mutations == (("loaded_b-things", b"\xa1k", value, 6000),)


def test_a_folder_loaded_twice_is_one_unit(write: Write) -> None:
    folder = write("loaded_twice")
    assert load_unit(folder) is load_unit(folder)
    with pytest.raises(UnitLoadError, match="two processing units are named 'loaded_twice'"):
        load_units([folder, folder])


def test_failures_are_logged_with_a_bound(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    runner = runner_of(load_units([write("loaded_fails")]))
    view = LocalPartition(0)
    arguments = msgspec.msgpack.encode({"key": "k"})
    with caplog.at_level(logging.ERROR):
        for view.now_ms in (10_000, 10_001, 10_999, 11_000):
            result, mutations = runner.run("loaded_fails.fail", arguments, view)
            assert result[0] == ResultCode.COMMAND_FAILED
            assert mutations == ()
    assert msgspec.msgpack.decode(result[2]) == "loaded_fails.fail failed: ValueError: k"
    assert len(caplog.records) == 2
    assert "ValueError: k" in caplog.text
    assert "2 more like it not logged" in caplog.records[1].getMessage()


def test_the_limits_of_the_grid_hold(write: Write) -> None:
    runner = runner_of(load_units([write("loaded_small")]), value_bytes_max=3)
    arguments = msgspec.msgpack.encode({"key": "k"})
    result, mutations = runner.run("loaded_small.make", arguments, LocalPartition(0))
    assert result[0] == ResultCode.COMMAND_FAILED
    assert "value_bytes_max allows 3" in msgspec.msgpack.decode(result[2])
    assert mutations == ()


@pytest.mark.parametrize(
    ("manifest", "words", "hint"),
    [
        ("name = ", "is not TOML", "correct that line"),
        ('name = "x"', "missing required field `package`", 'package = "..."'),
        ('name = "x"\npackage = 3', "Expected `str`, got `int`", 'package = "..."'),
        ('name = "x"\npackage = "p"\nz = 1', "unknown field `z`", 'attribute = "..."'),
        ('name = "x"\npackage = "a-b"', "is not an import name", "letters, digits"),
        ('name = "x"\npackage = "json"', "hide Python's own", "rename"),
        ('name = "x"\npackage = "grpc"', "taken by", "rename the package"),
        ('name = "x"\npackage = "nowhere"', "__init__.py does not exist", "correct `package`"),
        (
            'name = "x"\npackage = "loaded_bad"\nmodule = "os.path"',
            "'os.path' is not in package",
            "loaded_bad.",
        ),
        (
            'name = "x"\npackage = "loaded_bad"\nmodule = "loaded_bad.other"',
            "module 'loaded_bad.other', which does not exist",
            "set `module`",
        ),
        (
            'name = "x"\npackage = "loaded_bad"\nattribute = "Thing"',
            "no ProcessingUnit named 'Thing'",
            "set `attribute`",
        ),
        ('name = "x"\npackage = "loaded_bad"', "ProcessingUnit('loaded_bad')", "the same"),
    ],
)
def test_a_wrong_manifest_says_what_to_do(
    write: Write, manifest: str, words: str, hint: str
) -> None:
    with pytest.raises(UnitLoadError, match=re.escape(words)) as caught:
        load_unit(write("loaded_bad", manifest=manifest))
    assert hint in caught.value.hint
    assert "loaded_bad" in str(caught.value)


def test_no_folder_and_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(UnitLoadError, match="is not a folder"):
        load_unit(tmp_path / "absent")
    with pytest.raises(UnitLoadError, match=r"has no unit\.toml; write one"):
        load_unit(tmp_path)
    (tmp_path / "unit.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UnitLoadError, match="not UTF-8"):
        load_unit(tmp_path)


def test_names_must_be_unique(write: Write) -> None:
    folders = [write("loaded_c", space="things"), write("loaded_d", space="things")]
    with pytest.raises(UnitLoadError, match=r"'loaded_c' and 'loaded_d' both declare .*'things'"):
        load_units(folders)
    other = write("loaded_e", name="loaded_c")
    with pytest.raises(UnitLoadError, match="two processing units are named 'loaded_c'"):
        load_units([folders[0], other])


@pytest.mark.parametrize(
    ("code", "initial", "words"),
    [
        ("def broken(:\n", "", "SyntaxError"),
        ("def inner():\n    1 / 0\n\n\ninner()\n", "", "unit.py:2 in inner: 1 / 0"),
        ("import a_missing_module\n", "", "install 'a_missing_module' where the grid runs"),
        ("", "raise OSError('no disk')\n", "OSError: no disk"),
        ("raise SystemExit(0)\n", "", "SystemExit"),
    ],
)
def test_code_that_cannot_be_imported_is_shown_and_forgotten(
    write: Write, code: str, initial: str, words: str
) -> None:
    folder = write("loaded_broken", code=code, initial=initial)
    with pytest.raises(UnitLoadError, match=re.escape(words)):
        load_unit(folder)
    assert "loaded_broken" not in sys.modules
    (folder / "loaded_broken" / "__init__.py").write_text("# repaired by hand, and longer\n")
    mended = CODE.format(package="loaded_broken", name="loaded_broken", space="things")
    (folder / "loaded_broken" / "unit.py").write_text(mended)
    assert load_unit(folder).name == "loaded_broken"
