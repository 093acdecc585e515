"""The benchmark as a command, with the grid alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers.processes import cpu_s, descendants, resident_bytes
from benchmarks.sdk import ROOT

SHAPES = "put/64/100,get_many/1/100,collocate/64/100"


def run(out: Path, *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", "--json", "--out", str(out), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_quick_run_with_the_grid_alone(tmp_path: Path) -> None:
    """Also on one core. No way of the ten accounts that is meant to be safe loses an addition."""
    words = ["--quick", "--rounds", "1", "--placement", "free", "--shapes", SHAPES]
    result = run(tmp_path, *words, "--systems", "tupelo", "--plot")
    by_shape = {(row["shape"], row["way"]): row for row in result["rows"]}
    assert {way for shape, way in by_shape if shape == "collocate/64/100"} == {
        "command",
        "get_many+put_many",
        "get+compare_and_set",
    }
    for row in result["rows"]:
        assert row["ops_s"] > 0
        assert 0 < row["p50_us"] <= row["p99_us"]
        assert row["client_us_op"] > 0
        assert 0 < row["data_us_op"] <= row["server_us_op"]
    for way in ("command", "get+compare_and_set"):
        assert by_shape["collocate/64/100", way]["lost"] == 0
    assert result["ratios"]["command_10_vs_remote_64"]["ratio"] > 1
    assert json.loads((tmp_path / "peers.json").read_text())["rows"] == result["rows"]
    assert "| tupelo |" in (tmp_path / "peers.md").read_text()
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "peers-plain.png",
        "peers-batch.png",
        "peers-collocation.png",
    }


def test_unknown_systems_and_shapes_are_named(tmp_path: Path) -> None:
    for words in (["--systems", "nothing"], ["--shapes", "nothing"]):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.peers", "--out", str(tmp_path), *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert "'nothing'; " in done.stderr


def test_another_process_is_measured_from_outside() -> None:
    """Its CPU to better than a clock tick, its memory, and its children."""
    code = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
        "block = b'x' * 50_000_000\n"
        "while os.times().user < 0.2: pass\n"
        "print('ready', flush=True); input()\n"
        "child.communicate()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert 0.2 <= cpu_s([process.pid]) < 5
        assert 50_000_000 < resident_bytes([process.pid]) < 500_000_000
        assert len(descendants(process.pid)) == 1
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait(30) == 0
    assert cpu_s([process.pid]) == 0
