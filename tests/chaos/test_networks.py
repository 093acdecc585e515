"""Both forms of the network keep one contract: a cut is silent, a heal goes on, a reset is heard.

"auto" is that of namespaces wherever the kernel and our rights allow it, as in CI.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from time import perf_counter
from typing import Final

import pytest

from tests.chaos.__main__ import network_of
from tests.chaos.namespaces import PREFIX, clear_leftovers, ip, links, spaces, usable
from tests.chaos.network import Network, Pair, both, into, out_of

ECHO: Final = """
import asyncio, sys
async def echo(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except ConnectionError:
        writer.close()
async def main():
    server = await asyncio.start_server(echo, sys.argv[1], 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
TALK: Final = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as one:
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            one.sendall(line.encode())
            heard = b""
            while not heard.endswith(b"\\n"):
                more = one.recv(65536)
                if not more:
                    raise ConnectionResetError
                heard += more
            print(len(heard) - 1, flush=True)
        except OSError:
            print("broken", flush=True)
            break
"""


class Talk:
    """A process that prints something."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    async def hears(self, timeout_s: float = 15.0) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(timeout_s):
            return (await self._process.stdout.readline()).decode().strip()


async def started(stack: contextlib.AsyncExitStack, enter: str, *words: str) -> Talk:
    process = await asyncio.create_subprocess_exec(
        *enter.split(), *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )

    async def end() -> None:
        if process.returncode is None:
            process.kill()
        await process.communicate()

    stack.push_async_callback(end)
    return Talk(process)


Talking = tuple[Network, Talk]


@pytest.fixture(params=["auto", "proxy"])
async def talking(request: pytest.FixtureRequest) -> AsyncIterator[Talking]:
    """A process at unit-1 that says lines to one at unit-2, which repeats them."""
    network = network_of(request.param)()
    echo_address = ""
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(network.close)
        wiring = await network.open(["unit-1", "unit-2"], lambda name: echo_address)
        enter = {name: wiring.launchers.get(name, "") for name in ("unit-1", "unit-2")}
        host = wiring.hosts.get("unit-2", "127.0.0.1")
        echo = await started(stack, enter["unit-2"], sys.executable, "-IS", "-c", ECHO, host)
        echo_address = f"{host}:{await echo.hears()}"
        way = wiring.via.get("unit-1>unit-2", echo_address).split(":")
        talk = await started(stack, enter["unit-1"], sys.executable, "-IS", "-c", TALK, *way)
        assert await talk.hears() == "ready"
        talk.say("hello")
        assert await talk.hears() == "5"
        yield network, talk


@pytest.mark.parametrize("direction", [out_of, into, both])
async def test_a_cut_is_silent_and_goes_on_when_healed(talking: Talking, direction) -> None:
    network, talk = talking
    pairs: list[Pair] = direction("unit-1", ["unit-2"])
    await network.cut(pairs)
    talk.say("12")
    with pytest.raises(TimeoutError):
        await talk.hears(0.3)
    await network.heal()
    assert await talk.hears() == "2"


async def test_only_what_is_cut_is_cut(talking: Talking) -> None:
    network, talk = talking
    await network.cut(both("unit-1", ["control"]))
    talk.say("123")
    assert await talk.hears() == "3"


async def test_a_delay_holds_everything_up_and_loses_nothing(talking: Talking) -> None:
    network, talk = talking
    await network.delay(both("unit-1", ["unit-2"]), 0.05)
    begun = perf_counter()
    talk.say("1234")
    assert await talk.hears() == "4"
    assert perf_counter() - begun >= 0.09
    talk.say("x" * 300_000)
    assert await talk.hears() == "300000"
    await network.heal()
    talk.say("x" * 300_000)
    assert await talk.hears() == "300000"


async def test_a_reset_is_heard(talking: Talking) -> None:
    network, talk = talking
    await network.reset(both("unit-1", ["unit-2"]))
    talk.say("12345")
    assert await talk.hears() == "broken"


def left_of(mark: str) -> list[str]:
    """Namespaces and links of one run; others may be under way beside it."""
    return [name for name in (*spaces(), *links()) if name.startswith(mark)]


async def test_namespaces_are_used_where_they_can_be_and_leave_nothing() -> None:
    why = usable()
    network = network_of("auto")()
    assert network.kind == ("proxy" if why else "namespaces")
    if why:
        with pytest.raises(ValueError, match="cannot be used"):
            network_of("namespaces")
        return
    own = f"{PREFIX}{os.getpid()}"
    await network.open(["unit-1"], lambda name: "")
    assert len(left_of(own)) > 6
    await network.close()
    assert left_of(own) == []
    # A run that was killed: its pid is nobody's any more.
    killed = f"{PREFIX}9999999"
    ip("netns", "add", f"{killed}-unit-1")
    ip("link", "add", killed, "type", "bridge")
    assert len(left_of(killed)) == 2
    clear_leftovers()
    assert left_of(killed) == []
