"""tupelo: three units, journal, one synchronous backup, write-behind into SQLite."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import grpc
import tupelo

from benchmarks.peers.system import About
from benchmarks.sdk import ROOT, own_grid

UNIT: Final = ROOT / "benchmarks" / "unit"
UNITS: Final = 3
SETTLE_S: Final = 60.0
NOTE: Final = "x" * 60
ATTEMPTS_MAX: Final = 100


class Tupelo:
    """Reads are linearizable; plain calls in flight together are combined by the SDK."""

    get: Any
    put: Any
    get_many: Any
    put_many: Any

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._exits = ExitStack()
        self.about = About(
            version=f"{tupelo.__version__}, grpcio {grpc.__version__}",
            replication="journal in memory, 1 synchronous backup in another process",
            durability="write-behind into SQLite (up to 1 s later, in batches)",
            client="SDK on asyncio, 3 units, reads linearizable",
        )

    async def open(self) -> None:
        data_dir = self._folder / "grid"
        grid = own_grid(UNITS, unit=UNIT, data_dir=data_dir)
        seed = await asyncio.to_thread(self._exits.enter_context, grid)
        self._run = data_dir / "run"
        self._grid = await tupelo.connect(seed)
        self._space = await self._grid.create_space("bench")
        self.get = self._space.get
        self.put = self._space.put
        self.get_many = self._space.get_many
        self.put_many = self._space.put_many

    async def close(self) -> None:
        if hasattr(self, "_grid"):
            await self._grid.close()
        await asyncio.to_thread(self._exits.close)

    def pids(self) -> list[int]:
        return [pid for pids in self._processes().values() for pid in pids]

    def data_pids(self) -> list[int]:
        return self._processes()["unit"]

    def _processes(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for path in self._run.glob("*.json"):
            process = json.loads(path.read_text())
            found.setdefault(process["role"], []).append(process["pid"])
        return found

    async def settle(self) -> None:
        """Until the store has everything, so that the journals are empty."""
        deadline = asyncio.get_running_loop().time() + SETTLE_S
        while asyncio.get_running_loop().time() < deadline:
            status = await self._grid.status()
            if not sum(unit.lag_records for unit in status.units):
                return
            await asyncio.sleep(0.2)
        raise TimeoutError(f"the store is still behind after {SETTLE_S} s")

    # Ten entries: a command, and the same from outside.

    def ways(self) -> list[str]:
        return ["command", "get_many+put_many", "get+compare_and_set"]

    async def seed(self, groups: int, each: int) -> None:
        self._accounts = self._grid.space("accounts")
        self._each = each
        for start in range(0, groups, 100):
            await self._accounts.put_many(
                [
                    {"group": group, "number": number, "balance": 0, "note": NOTE}
                    for group in range(start, min(groups, start + 100))
                    for number in range(each)
                ]
            )

    async def shift(self, way: str, group: int, amount: int) -> Any:
        if way == "command":
            return await self._grid.call("bench.shift", group=group, amount=amount)
        if way == "get_many+put_many":
            return await self._shift_many(group, amount)
        # All at the same time; each of them again until nobody came between.
        await asyncio.gather(
            *[self._shift_one((group, number), amount) for number in range(self._each)]
        )
        return None

    async def _shift_many(self, group: int, amount: int) -> None:
        """Two calls for ten entries; others may write between them, and are lost."""
        keys = [(group, number) for number in range(self._each)]
        found = await self._accounts.get_many(keys)
        await self._accounts.put_many(
            [{**entry, "balance": entry["balance"] + amount} for entry in found.values()]
        )

    async def _shift_one(self, key: tuple[int, int], amount: int) -> None:
        for _ in range(ATTEMPTS_MAX):
            found = await self._accounts.entry(key)
            assert found is not None
            changed = {**found.value, "balance": found.value["balance"] + amount}
            if await self._accounts.compare_and_set(changed, version=found.version):
                return
        raise RuntimeError(f"{key} changed {ATTEMPTS_MAX} times under our hands")

    async def total(self, groups: int, each: int) -> int:
        keys = [(group, number) for group in range(groups) for number in range(each)]
        found = await self._accounts.get_many(keys)
        return sum(entry["balance"] for entry in found.values())
