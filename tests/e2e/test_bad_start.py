"""Grids that cannot start: each says why and what to do, exits 2, and leaves no process."""

import re
import socket

import pytest
from tupelo_grid.cli.output import ExitCode
from tupelo_grid.runtime.runfiles import live_processes

from tests.e2e.grids import free_port, gone, tupelo


def refused(data_dir, *arguments):
    """What `tupelo up` said."""
    result = tupelo("up", "--data-dir", data_dir, "--detach", *arguments)
    assert result.returncode == ExitCode.USAGE, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert live_processes(data_dir) == {}
    return result.stderr


@pytest.mark.parametrize("offset", [0, 1])
def test_a_port_in_use(tmp_path, offset):
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port + offset))
        taken.listen()
        said = refused(tmp_path / "d", "--port", port)
    assert f"cannot listen on 127.0.0.1:{port + offset}: another process uses it" in said
    assert "--port" in said


def test_a_data_dir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    said = refused(tmp_path / "file" / "d", "--port", free_port())
    assert "cannot be written" in said
    assert "--data-dir" in said


@pytest.mark.parametrize("name", ["state.sqlite", "store.sqlite"])
def test_a_corrupt_file(tmp_path, name):
    data_dir = tmp_path / "d"
    data_dir.mkdir()
    garbage = b"this was a database once " * 400
    (data_dir / name).write_bytes(garbage)
    said = refused(data_dir, "--port", free_port())
    assert str(data_dir / name) in said
    assert re.search(r"not a database|damaged|corrupt|malformed", said)
    # Whatever it is, it may be somebody's data: it is left as it was.
    assert (data_dir / name).read_bytes() == garbage


def test_a_unit_that_cannot_be_loaded(tmp_path):
    unit = tmp_path / "broken"
    unit.mkdir()
    (unit / "unit.toml").write_text("this is no toml")
    said = refused(tmp_path / "d", "--port", free_port(), "--unit", unit)
    assert "unit.toml" in said


def test_other_partitions_than_the_grid_was_made_with(tmp_path):
    port = free_port()
    first = tupelo("up", "--data-dir", tmp_path, "--port", port, "--units", "1", "--detach")
    assert first.returncode == 0, first.stderr
    runs = live_processes(tmp_path)
    assert tupelo("down", "--data-dir", tmp_path).returncode == 0
    assert gone(runs)
    said = refused(tmp_path, "--port", port, "--units", "1", "--partitions", "64")
    assert "256 partitions" in said
