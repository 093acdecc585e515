"""Entries that are written seldom and read all the time, each by a reader with its own connection.

What this is for: a deposed primary that its clients still reach must stop to answer reads. A reader
notices by itself that a primary is gone as soon as any of its calls gets no answer, and then asks
the next one. So here nothing but one entry is read through a connection, and its writer pauses long
enough that its first write after a change of primary is often the first since before the cut.
"""

from __future__ import annotations

import asyncio

from tests.chaos.asking import Rotation, Worker
from tests.chaos.registers import SPACE
from tests.linearizability.history import UNKNOWN
from tests.pause import pause

READ_S = 0.1


async def write_seldom(worker: Worker, rotation: Rotation, lease_s: float) -> None:
    """Through a connection that hears of a new table without asking for it: the router's."""
    space = worker.grid.space(SPACE)
    while not worker.stop.is_set():
        key, value = rotation.take(), worker.unique()
        call = worker.invoke(key, "put", value)
        written = await worker.ask([call], space.put(key, value), 10.0)
        if written is not UNKNOWN:
            call.returned(written.version)
        until_s = lease_s * worker.rng.uniform(0.7, 2.5)
        try:
            async with asyncio.timeout(until_s):
                await worker.stop.wait()
        except TimeoutError:
            continue  # the usual case: time for the next one


async def read_often(worker: Worker, rotation: Rotation) -> None:
    space = worker.grid.space(SPACE)
    while not worker.stop.is_set():
        key = rotation.names[-1]
        call = worker.invoke(key, "get")
        found = await worker.ask([call], space.entry(key), 10.0)
        if found is not UNKNOWN:
            call.returned(None if found is None else (found.value, found.version))
        await pause(READ_S * worker.rng.random() * 2)
