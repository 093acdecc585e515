"""The life of one process, with a role that only waits."""

import json
import os
import signal
import subprocess
import sys

import pytest
from tupelo_grid.config import GridConfig, encode_config
from tupelo_grid.runtime.errors import FatalStartError, find_fatal
from tupelo_grid.runtime.process import main
from tupelo_grid.runtime.runfiles import (
    RunFile,
    is_alive,
    live_processes,
    remove_run_file,
    start_ticks,
    write_run_file,
)

# Stands for runtime/control.py, whose own start would make this a test of something else.
ROLE = """
import asyncio, sys, types
from tupelo_grid.runtime.errors import FatalStartError
async def run_control(config, name, stop, announce):
    {body}
role = types.ModuleType("role")
role.run_control = run_control
sys.modules["tupelo_grid.runtime.control"] = role
from tupelo_grid.runtime.process import main
sys.exit(main(["control", "--config", sys.argv[1]]))
"""


def start(tmp_path, body):
    config = tmp_path / "config.json"
    config.write_bytes(encode_config(GridConfig(data_dir=str(tmp_path), port=7400)))
    return subprocess.Popen(
        [sys.executable, "-c", ROLE.format(body=body), str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_process_says_ready_keeps_a_run_file_and_stops_on_sigterm(tmp_path):
    body = 'announce({"address": "127.0.0.1:1"}); print("later"); await stop.wait()'
    with start(tmp_path, body) as process:
        ready = json.loads(process.stdout.readline())
        assert ready == {
            "ready": True,
            "role": "control",
            "name": "control",
            "pid": process.pid,
            "address": "127.0.0.1:1",
        }
        run = live_processes(tmp_path)["control"]
        assert (run.pid, run.address, run.control_port) == (process.pid, "127.0.0.1:1", 7401)
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    assert rest == b""  # what is printed after the ready line goes to the log
    assert b"later" in errors
    assert live_processes(tmp_path) == {}
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(
    "body",
    [
        'raise FatalStartError("no port", "take another")',
        'raise ExceptionGroup("tasks", [FatalStartError("no port", "take another")])',
    ],
)
def test_a_fatal_start_error_is_one_line_and_exit_code_2(tmp_path, body):
    with start(tmp_path, body) as process:
        out, errors = process.communicate(timeout=10)
    assert process.returncode == 2
    assert json.loads(out) == {"ready": False, "error": "no port", "hint": "take another"}
    assert b"Traceback" not in errors


def test_a_failure_before_ready_is_one_line_and_exit_code_1(tmp_path):
    with start(tmp_path, '{}["x"]') as process:
        out, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    line = json.loads(out)
    assert (line["ready"], line["error"]) == (False, "KeyError: 'x'")
    assert b"Traceback" in errors


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read"), (b"{", "is not valid"), (b'{"nonsense": 1}', "nonsense")],
)
def test_a_bad_configuration_is_fatal(tmp_path, capsys, content, said):
    from tupelo_grid.runtime.process import main

    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)
    assert main(["unit", "--config", str(path)]) == 2
    line = json.loads(capsys.readouterr().out)
    assert line["ready"] is False
    assert said in line["error"]


def test_a_run_file_counts_only_with_the_start_time_of_its_process(tmp_path):
    own = RunFile("unit-1", "unit", os.getpid(), start_ticks(os.getpid()), 7401)
    other = RunFile("unit-2", "unit", os.getpid(), own.start_ticks - 1, 7401)
    write_run_file(tmp_path, own)
    write_run_file(tmp_path, other)
    (tmp_path / "run" / "junk.json").write_text("{")
    assert is_alive(own)
    assert not is_alive(other)
    assert live_processes(tmp_path) == {"unit-1": own}


def test_a_second_process_of_a_name_leaves_the_run_file_of_the_first(tmp_path):
    """Otherwise nobody would find the one that runs, to stop it."""
    path = tmp_path / "config.json"
    path.write_bytes(encode_config(GridConfig(data_dir=str(tmp_path))))
    first = RunFile("control", "control", os.getppid(), start_ticks(os.getppid()) or 0, 7401)
    write_run_file(tmp_path, first)
    assert main(["control", "--config", str(path)]) == 2
    assert live_processes(tmp_path)["control"] == first


def test_a_process_removes_only_its_own_run_file(tmp_path):
    old = RunFile("unit-1", "unit", 1, 1, 7401)
    new = RunFile("unit-1", "unit", 2, 2, 7401)
    write_run_file(tmp_path, new)
    remove_run_file(tmp_path, old)
    assert len(list((tmp_path / "run").iterdir())) == 1
    remove_run_file(tmp_path, new)
    assert list((tmp_path / "run").iterdir()) == []


def test_a_fatal_error_is_found_inside_task_groups():
    fatal = FatalStartError("a", "b")
    nested = ExceptionGroup("x", [ValueError(), ExceptionGroup("y", [fatal])])
    assert find_fatal(nested) is fatal
    assert find_fatal(ExceptionGroup("x", [ValueError()])) is None
