"""What is said in two places is the same in both."""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from tupelo.config import ClientConfig
from tupelo.errors import ResultCode
from tupelo.v1 import data_pb2
from tupelo_grid.config import GridConfig

from tests.tidy.sources import ROOT, none

ERRORS = "client/tupelo/errors.py"


def test_result_codes_are_those_of_the_wire() -> None:
    wire = {
        name.removeprefix("RESULT_CODE_"): number for name, number in data_pb2.ResultCode.items()
    }
    ours = {code.name: int(code) for code in ResultCode}
    none(
        f"{ERRORS}:1: {name} is {ours.get(name)} here and {wire.get(name)} in data.proto"
        for name in wire.keys() | ours.keys()
        if wire.get(name) != ours.get(name)
    )


@pytest.mark.parametrize("config", [GridConfig, ClientConfig])
def test_every_setting_is_documented(config: Any) -> None:
    documented = set(_documented(config.__doc__ or ""))
    path = str(inspect.getsourcefile(config)).removeprefix(f"{ROOT}/")
    line = inspect.getsourcelines(config)[1]
    missing = [name for name in config.__struct_fields__ if name not in documented]
    stray = documented - set(config.__struct_fields__)
    none(
        [f"{path}:{line}: {name} is not in the docstring" for name in missing]
        + [f"{path}:{line}: the docstring tells of {name}, which is no setting" for name in stray]
    )


def _documented(docstring: str) -> Iterator[str]:
    """Names before the colon in an "Attributes:" section; several may share an explanation."""
    section = inspect.cleandoc(docstring).partition("Attributes:")[2]
    for line in section.splitlines():
        found = re.match(r"    ((?:\w+)(?:, \w+)*):", line)
        if found:
            yield from found.group(1).split(", ")


def test_generated_messages_are_up_to_date() -> None:
    path = ROOT / "scripts" / "proto.py"
    spec = importlib.util.spec_from_file_location("proto_script", path)
    assert spec is not None
    assert spec.loader is not None
    proto = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(proto)
    none(
        line.replace(":", ":1:", 1) + "; run `make proto`"
        for line in proto.differences(proto.generate())
    )


def test_the_synchronous_client_is_up_to_date() -> None:
    result = subprocess.run(
        [sys.executable, "scripts/make_sync.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
