"""`tupelo demo`: the demo of a checkout, which has the flights and the load."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tupelo_grid.cli.output import CliError, ExitCode

DEMO = Path("loadtest") / "demo.py"


def demo(options: argparse.Namespace) -> int:
    root = find_checkout(Path.cwd(), Path(__file__).resolve())
    command = [sys.executable, "-m", "loadtest.demo"]
    command += ["--seconds", str(options.seconds), "--users", str(options.users)]
    if options.keep:
        command.append("--keep")
    with subprocess.Popen(command, cwd=root) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                # The demo got it as well, and stops what it started.
                continue


def find_checkout(*starts: Path) -> Path:
    """The first folder at or above one of `starts` that has the demo. Raises CliError."""
    for start in starts:
        for folder in (start, *start.parents):
            if (folder / DEMO).is_file():
                return folder
    raise CliError(
        ExitCode.USAGE,
        "the demo needs the sources: its flights and its load are not part of the package",
        "get a checkout of tupelo and run `tupelo demo`, or `make demo`, in it",
    )
