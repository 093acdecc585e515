"""asynctnt on Tarantool: a primary and a replica, synchronous or not."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import asynctnt

from benchmarks.peers.processes import free_port, spawn, stop, wait_for_port
from benchmarks.peers.system import About, NotInstalled

SCRIPT: Final = Path(__file__).with_suffix(".lua")
FOLLOW_S: Final = 20.0


class Tarantool:
    """Batches are one call of a stored function: the cheapest form there is."""

    mode = "sync"
    replication = "1 synchronous replica (is_sync space, quorum of 2)"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    async def open(self) -> None:
        program = shutil.which("tarantool")
        if not program:
            raise NotInstalled("tarantool is not on the PATH: apt-get install tarantool")
        said = await asyncio.to_thread(subprocess.check_output, [program, "--version"], text=True)
        self.about = About(
            version=f"{said.splitlines()[0]}, asynctnt {version('asynctnt')}",
            replication=self.replication,
            durability="write-ahead log, written and not flushed (replication needs one)",
            client="asyncio, one multiplexed connection",
        )
        await asyncio.to_thread(self._start, program)
        self._client = asynctnt.Connection(host="127.0.0.1", port=self._port)
        await self._client.connect()
        await self._followed()

    def _start(self, program: str) -> None:
        first, second = self._port, _ = free_port(), free_port()
        for role, own, other in (("primary", first, second), ("replica", second, first)):
            folder = self._folder / role
            folder.mkdir(parents=True)
            words = [str(own), str(other), role, str(folder), self.mode]
            log = self._folder / f"{role}.log"
            process = spawn([program, str(SCRIPT), *words], log)
            self._processes.append(process)
            wait_for_port(own, process, log)

    async def _followed(self) -> None:
        """A synchronous write before the replica has come would fail."""
        deadline = asyncio.get_running_loop().time() + FOLLOW_S
        while asyncio.get_running_loop().time() < deadline:
            found = await self._client.eval(
                "for _, r in pairs(box.info.replication) do "
                "if r.downstream and r.downstream.status == 'follow' then return true end end "
                "return false"
            )
            if found[0]:
                return
            await asyncio.sleep(0.05)
        raise RuntimeError(f"the replica does not follow after {FOLLOW_S} s")

    async def close(self) -> None:
        if hasattr(self, "_client"):
            await self._client.disconnect()
        await asyncio.to_thread(stop, self._processes)

    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def data_pids(self) -> list[int]:
        return self.pids()

    async def get(self, key: str) -> Any:
        return await self._client.select("bench", [key])

    async def put(self, key: str, value: str) -> Any:
        return await self._client.replace("bench", [key, value])

    async def get_many(self, keys: list[str]) -> Any:
        return await self._client.call("get_many", [keys])

    async def put_many(self, entries: dict[str, str]) -> Any:
        return await self._client.call("put_many", [list(entries), list(entries.values())])


class TarantoolAsynchronous(Tarantool):
    """A write is answered when the primary has it; a crash of it may lose the last ones."""

    mode = "async"
    replication = "1 asynchronous replica: weaker than the others"
