"""Clients of an untyped space: every way to read and write an entry, on few keys at a time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from tests.chaos.asking import Rotation, Worker
from tests.linearizability.history import UNKNOWN

SPACE: Final = "registers"

Step = Callable[["Registers", Any, str], Coroutine[Any, Any, None]]


class Registers:
    """One client of a group that shares a key. `all_keys`: of all groups, for bulk calls."""

    def __init__(self, worker: Worker, own: Rotation, everyone: Sequence[Rotation]) -> None:
        self._worker = worker
        self._own = own
        self._everyone = everyone
        self._seen: dict[str, int] = {}

    async def run(self) -> None:
        worker = self._worker
        space = worker.grid.space(SPACE)
        while await worker.rest():
            step = worker.rng.choices(_STEPS, _WEIGHTS)[0]
            await step(self, space, self._own.take())

    async def run_reading(self) -> None:
        """Reads only, of what the others write. Through a connection of readers alone: no write
        that gets no answer tells it that a primary has been deposed."""
        space = self._worker.grid.space(SPACE)
        while await self._worker.rest():
            await self.get(space, self._own.names[-1])

    def _saw(self, key: str, version: int | None) -> None:
        if version:
            self._seen[key] = version

    def _expected(self, key: str) -> int | None:
        """A version to be conditional on: mostly the newest seen, at times one that is too old."""
        version = self._seen.get(key)
        if version is None:
            return None
        return version if self._worker.rng.random() < 0.85 else max(1, version - 1)

    async def _ask(self, key: str, call: Any, asked: Any, timeout_s: float) -> Any:
        answer = await self._worker.ask([call], asked, timeout_s)
        if answer is UNKNOWN:
            self._own.unknown(key)
        return answer

    async def get(self, space: Any, key: str) -> None:
        worker = self._worker
        timeout_s, strict = worker.timeout_s(), worker.rng.random() < 0.1
        call = worker.invoke(key, "get")
        asked = space.entry(key, timeout_s=timeout_s, strict=strict)
        found = await worker.ask([call], asked, timeout_s)
        if found is not UNKNOWN:
            call.returned(None if found is None else (found.value, found.version))
            self._saw(key, found and found.version)

    async def contains(self, space: Any, key: str) -> None:
        timeout_s = self._worker.timeout_s()
        call = self._worker.invoke(key, "contains")
        found = await self._worker.ask([call], space.contains(key, timeout_s=timeout_s), timeout_s)
        if found is not UNKNOWN:
            call.returned(found)

    async def put(self, space: Any, key: str) -> None:
        timeout_s, value = self._worker.timeout_s(), self._worker.unique()
        call = self._worker.invoke(key, "put", value)
        written = await self._ask(key, call, space.put(key, value, timeout_s=timeout_s), timeout_s)
        if written is not UNKNOWN:
            call.returned(written.version)
            self._saw(key, written.version)

    async def put_if_absent(self, space: Any, key: str) -> None:
        await self._conditional(space.put_if_absent, key, "put_if_absent")

    async def replace(self, space: Any, key: str) -> None:
        await self._conditional(space.replace, key, "replace")

    async def _conditional(self, method: Any, key: str, kind: str) -> None:
        timeout_s, value = self._worker.timeout_s(), self._worker.unique()
        call = self._worker.invoke(key, kind, value)
        asked = method(key, value, timeout_s=timeout_s)
        self._told(key, call, await self._ask(key, call, asked, timeout_s))

    def _told(self, key: str, call: Any, written: Any) -> None:
        if written is not UNKNOWN:
            call.returned((True, written.version) if written else (False, None))
            self._saw(key, written and written.version)

    async def compare_and_set(self, space: Any, key: str) -> None:
        expected = self._expected(key)
        if expected is None:
            await self.get(space, key)
            return
        timeout_s, value = self._worker.timeout_s(), self._worker.unique()
        call = self._worker.invoke(key, "cas", expected, value)
        asked = space.compare_and_set(key, value, version=expected, timeout_s=timeout_s)
        self._told(key, call, await self._ask(key, call, asked, timeout_s))

    async def delete(self, space: Any, key: str) -> None:
        timeout_s = self._worker.timeout_s()
        call = self._worker.invoke(key, "delete")
        asked = space.delete(key, timeout_s=timeout_s)
        self._told(key, call, await self._ask(key, call, asked, timeout_s))

    async def delete_if(self, space: Any, key: str) -> None:
        expected = self._expected(key)
        if expected is None:
            await self.get(space, key)
            return
        timeout_s = self._worker.timeout_s()
        call = self._worker.invoke(key, "delete_if", expected)
        asked = space.delete(key, version=expected, timeout_s=timeout_s)
        self._told(key, call, await self._ask(key, call, asked, timeout_s))

    async def put_many(self, space: Any, key: str) -> None:
        """One entry of every group. Which versions they got is not told."""
        timeout_s = self._worker.timeout_s()
        entries = {rotation.take(): self._worker.unique() for rotation in self._everyone}
        calls = {name: self._worker.invoke(name, "put", value) for name, value in entries.items()}
        asked = space.put_many(entries, timeout_s=timeout_s)
        written = await self._worker.ask(list(calls.values()), asked, timeout_s, parts=True)
        for rotation, (name, call) in zip(self._everyone, calls.items(), strict=True):
            if written is UNKNOWN:
                rotation.unknown(name)
            else:
                call.returned(None)

    async def get_many(self, space: Any, key: str) -> None:
        timeout_s = self._worker.timeout_s()
        names = [rotation.take() for rotation in self._everyone]
        calls = [self._worker.invoke(name, "get") for name in names]
        asked = space.get_many(names, timeout_s=timeout_s)
        found = await self._worker.ask(calls, asked, timeout_s)
        if found is not UNKNOWN:
            for name, call in zip(names, calls, strict=True):
                call.returned((found[name], None) if name in found else None)


_MIX: Final[dict[Step, int]] = {
    Registers.get: 30,
    Registers.contains: 3,
    Registers.put: 22,
    Registers.put_if_absent: 8,
    Registers.replace: 7,
    Registers.compare_and_set: 15,
    Registers.delete: 6,
    Registers.delete_if: 3,
    Registers.put_many: 4,
    Registers.get_many: 2,
}
_STEPS: Final = list(_MIX)
_WEIGHTS: Final = list(_MIX.values())
