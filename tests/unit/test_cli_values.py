"""Values on the command line that make no sense: one line that says so, and exit code 2."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from tupelo.v1 import admin_pb2 as pb
from tupelo_grid.cli.drain import Said
from tupelo_grid.cli.main import main
from tupelo_grid.cli.output import CliError, ExitCode, counted
from tupelo_grid.cli.rpc import unresolved
from tupelo_grid.cli.values import as_json

BIG = "99999999999999999999"


@pytest.mark.parametrize(
    "arguments",
    [
        *(["put", "s", "1", "2", "--ttl", text] for text in ("-1", "nan", "inf", "1e30", "x")),
        *(["put", "s", "1", "2", "--if-version", text] for text in ("-1", "0", BIG, "x")),
        ["delete", "s", "1", "--if-version", "-1"],
        # Not a delete without condition.
        ["delete", "s", "1", "--if-version", "0"],
        ["scan", "s", "--limit", "-1"],
        ["scan", "s", "--limit", BIG],
        ["dead-letters", "list", "--version", "-1"],
        ["dead-letters", "list", "--limit", "-1"],
        *(["get", "s", "1", "--timeout", text] for text in ("0", "-1", "nan", "inf", "1e12", "x")),
        ["status", "--timeout", "0"],
        ["status", "--watch", "nan"],
        ["drain", "--timeout", "-1"],
        ["put", "s", "1", "\udcff"],
        ["put", "s", "\udcff", "1"],
        ["put", "s", "1", "[1e999]"],
        ["scale", "0"],
        ["scale", "-1"],
    ],
)
def test_one_line_and_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--port", "1"]) == ExitCode.USAGE
    shown = capsys.readouterr()
    assert shown.err.startswith("tupelo: ")
    assert len(shown.err.splitlines()) == 1
    assert not shown.out


def test_json_is_told_of_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "s", "1", "--json", "--timeout", "0"]) == ExitCode.USAGE
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["hint"]) == (2, "")


def test_what_is_no_json_is_text() -> None:
    for text in ("NaN", "-Infinity", "[NaN]", "tea", "[" * 100_000):
        assert json.loads(as_json(text)) == text
    with pytest.raises(CliError, match="VALUE"):
        as_json('"\\ud800"', "VALUE")


def test_a_host_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(host: str, port: object) -> list[object]:
        if host.endswith(".invalid"):
            raise socket.gaierror("no such name")
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert unresolved("messaging (nosuch.invalid:7400)") == "nosuch.invalid"
    assert unresolved("nosuch.invalid:7400") == "nosuch.invalid"
    assert unresolved("messaging (127.0.0.1:7400)") == ""


def test_a_folder_that_is_no_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shopunit").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["up", "--unit", "shopunit"]) == ExitCode.USAGE
    assert "shopunit is a folder without a unit.toml" in capsys.readouterr().err


def test_a_drain_says_what_is_new(capsys: pytest.CaptureFixture[str]) -> None:
    said = Said()
    for left, elapsed_s in ((3, 1.0), (3, 2.0), (1, 3.0), (0, 4.0), (0, 5.0)):
        said.say(pb.DrainStoreProgress(partitions_left=left, elapsed_s=elapsed_s))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["3", "1"]


def test_one_is_not_many() -> None:
    assert (counted(1, "unit"), counted(2, "unit")) == ("1 unit", "2 units")
    assert (counted(1, "copy", "copies"), counted(0, "copy", "copies")) == ("1 copy", "0 copies")
