"""README.md and docs/UNITS.md, as a reader has them: what they show is written down and run."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tupelo.calls import COMMAND_PREFIX
from tupelo.errors import ApplicationError
from tupelo.schema import encode_schema
from tupelo.testing import LocalGrid
from tupelo.unit import ProcessingUnit
from tupelo_grid.units.loader import load_unit

from tests.fake_grid import FakeGrid

ROOT = Path(__file__).resolve().parent.parent.parent
BLOCK = re.compile(r"```(?:python|toml)\n# (\S+)\n(.*?)```", re.DOTALL)
SEED = "localhost:7400"


def forget_shop() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "shop"]:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    forget_shop()
    yield
    forget_shop()


def written_down(document: str, folder: Path) -> ProcessingUnit:
    """The files that a document shows, and its unit as a grid loads it."""
    (folder / "shop" / "shop").mkdir(parents=True)
    (folder / "shop" / "shop" / "__init__.py").touch()
    blocks = BLOCK.findall((ROOT / document).read_text("utf-8"))
    assert {name for name, _ in blocks} >= {"shop/unit.toml", "shop/shop/unit.py", "client.py"}
    for name, text in blocks:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    return load_unit(folder / "shop")


def serve(fake: FakeGrid, unit: ProcessingUnit) -> None:
    """The commands run as in tests of units, over the stock that was put."""
    local = LocalGrid(unit)
    stock = local.space(unit.spaces["stock"])
    for space in unit.spaces.values():
        fake.spaces[space.name] = encode_schema(space.schema)

    def runs(command: Any) -> Callable[[Any], Any]:
        def run(arguments: Any) -> Any:
            if not stock.count():
                for value in fake.entries("stock").values():
                    stock.put(msgspec.msgpack.decode(value, type=unit.spaces["stock"].type))
            try:
                return msgspec.to_builtins(local.call(command, **arguments))
            except ApplicationError as error:
                return error.error_code, error.message, error.fields

        return run

    for command in unit.commands.values():
        published = {"route": command.route, "read_only": command.read_only}
        fake.spaces[COMMAND_PREFIX + command.name] = msgspec.json.encode(published)
        fake.commands[command.name] = runs(command)


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder / "shop")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def client_says(document: str, folder: Path) -> list[str]:
    """What its client prints, against a fake grid."""
    unit = written_down(document, folder)
    async with FakeGrid() as fake:
        serve(fake, unit)
        client = folder / "client.py"
        text = client.read_text("utf-8")
        assert text.count(SEED) == 1
        client.write_text(text.replace(SEED, fake.seed), "utf-8")
        return (await asyncio.to_thread(run, folder, "client.py")).splitlines()


async def test_the_readme_works_when_copied(tmp_path: Path) -> None:
    assert await client_says("README.md", tmp_path) == [
        "{'item': 'tea', 'left': 3}",
        "{'items': ['tea']}",
    ]


async def test_the_client_of_the_tutorial_works(tmp_path: Path) -> None:
    said = await client_says("docs/UNITS.md", tmp_path)
    assert said == ["1", "only 1 of tea left 1"]


def test_the_tests_of_the_tutorial_pass(tmp_path: Path) -> None:
    written_down("docs/UNITS.md", tmp_path)
    said = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "shop/tests")
    assert "1 passed" in said
