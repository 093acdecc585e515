"""The process of one system: its client, and the parent of its servers.

    python -m benchmarks.peers.worker NAME FOLDER

Reads one JSON object a line and answers each with one: {"place": [client cores, server cores]} or
{"op", "in_flight", "value_bytes", "way", "seconds"}. The end of its input ends it and its servers.
What libraries print goes to the error output.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from benchmarks.peers.measure import Bench
from benchmarks.peers.processes import place
from benchmarks.peers.shapes import Shape
from benchmarks.peers.system import Blocking, Collocated, NotInstalled, System
from benchmarks.peers.systems import make


async def serve(name: str, folder: Path, answers: TextIO) -> None:
    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    try:
        system = make(name, folder)
    except ImportError as error:
        answer({"missing": f"{error}: python -m benchmarks.peers --install"})
        return
    try:
        try:
            await system.open()
        except NotInstalled as error:
            answer({"missing": str(error)})
            return
        ways = system.ways() if isinstance(system, Collocated) else []
        blocking = isinstance(system, Blocking)
        answer({"about": asdict(system.about), "ways": ways, "blocking": blocking})
        await _obey(Bench(system), answer)
    except Exception as error:
        traceback.print_exc()
        answer({"failed": f"{type(error).__name__}: {error}"})
    finally:
        await system.close()


async def _obey(bench: Bench, answer: Any) -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        wish = json.loads(line)
        if "place" in wish:
            clients, servers = wish["place"]
            _place(bench.system, set(clients), set(servers))
            answer({"placed": True})
            continue
        shape = Shape(wish["op"], wish["in_flight"], wish["value_bytes"])
        answer({"slice": await bench.run(shape, wish["way"], wish["seconds"])})


def _place(system: System, clients: set[int], servers: set[int]) -> None:
    place([os.getpid()], clients)
    place(system.pids(), servers)


def run(name: str, folder: Path, answers: TextIO) -> None:
    """On uvloop where it is installed: all clients gain by it."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(name, folder, answers))
    else:
        uvloop.run(serve(name, folder, answers))


def main() -> int:
    name, folder = sys.argv[1:]
    # Only answers go to where our parent reads; what is printed joins the errors.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    run(name, Path(folder), answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
