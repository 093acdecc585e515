"""Locust's web UI, driven as a browser does it, against a real grid."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tupelo

from loadtest.load_flights import load
from tests.e2e.grids import ROOT, Grid, free_port
from tests.pause import pause

USERS = 5
PATIENCE_S = 60.0
LOCUSTFILE = ROOT / "loadtest" / "locustfile.py"


class Web:
    """Locust's pages. `host`: of the grid."""

    def __init__(self, port: int, host: str) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._host = host

    def page(self, path: str, form: dict[str, Any] | None = None) -> str:
        data = urllib.parse.urlencode(form).encode() if form is not None else None
        with urllib.request.urlopen(self._url + path, data, timeout=10) as response:
            return str(response.read().decode())

    def up(self) -> bool:
        try:
            return "<html" in self.page("/")
        except OSError:
            return False

    def swarm(self) -> None:
        form = {"user_count": USERS, "spawn_rate": USERS, "host": self._host}
        assert json.loads(self.page("/swarm", form))["success"]

    def statistics(self) -> Any:
        return json.loads(self.page("/stats/requests"))

    def succeeded(self, name: str) -> int:
        rows = [row for row in self.statistics()["stats"] if row["name"] == name]
        return sum(row["num_requests"] - row["num_failures"] for row in rows)


@contextmanager
def locust(grid: Grid, folder: Path) -> Iterator[Web]:
    port = free_port()
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", grid.address]
    command += ["--web-host", "127.0.0.1", "--web-port", str(port)]
    with (folder / "locust.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
        try:
            web = Web(port, grid.address)
            yield web
        finally:
            process.terminate()
            process.wait(20)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await pause(0.1)


async def load_flights(host: str) -> None:
    async with tupelo.connect(host) as grid:
        await load(grid)


async def test_a_swarm_is_started_watched_and_stopped_from_the_web_ui(
    grid: Grid, tmp_path: Path
) -> None:
    with locust(grid, tmp_path) as web:
        await until(web.up)
        web.swarm()
        # Nothing to sell yet: locust says so, and what to do, instead of failing each call.
        await until(lambda: "loadtest.load_flights" in json.dumps(web.statistics()["errors"]))
        assert web.succeeded("seat_map") == 0
        await load_flights(grid.address)
        await until(lambda: web.succeeded("seat_map") > 0)
        await until(lambda: web.succeeded("hold") > 0)
        found = web.statistics()
        assert (found["state"], found["user_count"]) == ("running", USERS)
        assert all(row["avg_content_length"] > 0 for row in found["stats"] if row["name"] == "hold")
        web.page("/stop", {})
        await until(lambda: web.statistics()["state"] == "stopped")
        report = web.page("/stats/report")
    for name in ("seat_map", "hold"):
        assert name in report
