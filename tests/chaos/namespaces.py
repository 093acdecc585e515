"""The network between processes as the kernel has it: each in a namespace with its own address.

    root (clients) ── bridge ─┬─ unit-1       10.x.y.1
                              ├─ unit-2       10.x.y.2  ...
                              ├─ control      10.x.y.101
                              └─ messaging    10.x.y.102

A cut is a rule of iptables that drops what comes from a sender, in the receiver's namespace. So
connections stay open and silent, acknowledgements are lost too, and after the cut TCP sends again
only when its own patience says so: a proxy shows none of that. Delays are `tests/chaos/slow.py`.

Needs root, and the commands ip, iptables and nsenter; iptables is installed where it is missing.
Names carry the pid of their process, and what a process that is gone has left is cleared away.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from tests.chaos.network import CONTROL, MESSAGING, AddressOf, Pair, Wiring
from tests.chaos.slow import Slowed

PREFIX: Final = "tpc"
NETNS: Final = Path("/var/run/netns")
COMMAND_S: Final = 20.0
INSTALL_S: Final = 120.0
SUBNETS: Final = 200


class Namespaces:
    kind = "namespaces"

    def __init__(self) -> None:
        self.mark = f"{PREFIX}{os.getpid()}"
        self._net = ""
        self._addresses: dict[str, str] = {}
        self._dropped: set[Pair] = set()
        self._rejected: set[Pair] = set()
        self._slowed: dict[str, Slowed] = {}

    async def open(self, units: Sequence[str], address_of: AddressOf) -> Wiring:
        """Raises CalledProcessError for what the system refuses."""
        await asyncio.to_thread(clear_leftovers)
        await asyncio.to_thread(self._build, units)
        # nsenter becomes the command, so that its pid is the process's.
        enter = {name: " ".join(self._enter(name)) for name in self._addresses}
        return Wiring(hosts=dict(self._addresses), launchers=enter)

    def _build(self, units: Sequence[str]) -> None:
        bridge = self.mark
        ip("link", "add", bridge, "type", "bridge")
        self._net = free_subnet()
        ip("addr", "add", f"{self._net}.254/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        places = {name: number for number, name in enumerate(units, 1)}
        for name, place in (places | {CONTROL: 101, MESSAGING: 102}).items():
            space, veth = f"{self.mark}-{name}", self._veth(place)
            ip("netns", "add", space)
            ip("link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", veth, "master", bridge, "up")
            address = f"{self._net}.{place}"
            ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "lo", "up")
            ip("-n", space, "link", "set", "eth0", "up")
            self._addresses[name] = address

    def try_out(self) -> None:
        """Raises CalledProcessError for what does not work here."""
        self._build(("unit-1",))
        self._rejected = {(CONTROL, "unit-1")}
        self._restore("unit-1")

    def _veth(self, place: int | str) -> str:
        return f"{self.mark}v{place}"

    def _enter(self, name: str) -> list[str]:
        return ["nsenter", f"--net={NETNS / f'{self.mark}-{name}'}"]

    async def close(self) -> None:
        for slowed in self._slowed.values():
            slowed.close()
        self._slowed.clear()
        await asyncio.to_thread(remove, self.mark)

    async def cut(self, pairs: Iterable[Pair]) -> None:
        fresh = set(pairs)
        self._dropped |= fresh
        await self._apply({receiver for _, receiver in fresh})

    async def reset(self, pairs: Iterable[Pair]) -> None:
        fresh = set(pairs)
        self._rejected |= fresh
        await self._apply({receiver for _, receiver in fresh})

    async def delay(self, pairs: Iterable[Pair], seconds: float) -> None:
        """Both directions alike, of the process that all pairs have in common."""
        wanted = list(pairs)
        one = set.intersection(*({sender, receiver} for sender, receiver in wanted)).pop()
        others = {name for pair in wanted for name in pair if name != one}
        place = self._addresses[one].rpartition(".")[2]
        slowed = Slowed(
            self._veth(place),
            self.mark,
            frozenset(self._addresses[name] for name in others),
            seconds,
        )
        self._slowed[one] = slowed
        await slowed.open()

    async def heal(self) -> None:
        touched = {receiver for _, receiver in self._dropped | self._rejected}
        self._dropped.clear()
        self._rejected.clear()
        await self._apply(touched)
        for slowed in self._slowed.values():
            slowed.close()
        self._slowed.clear()

    async def _apply(self, receivers: Iterable[str]) -> None:
        await asyncio.gather(*(asyncio.to_thread(self._restore, name) for name in receivers))

    def _restore(self, receiver: str) -> None:
        """All rules of one namespace at once."""
        rules = ["*filter", ":INPUT ACCEPT [0:0]"]
        for pairs, what in (
            (self._dropped, "-j DROP"),
            (self._rejected, "-p tcp -j REJECT --reject-with tcp-reset"),
        ):
            senders = sorted(sender for sender, target in pairs if target == receiver)
            rules += [f"-A INPUT -s {self._addresses[sender]} {what}" for sender in senders]
        command("\n".join([*rules, "COMMIT", ""]), *self._enter(receiver), "iptables-restore")


def command(said: str, *words: str, timeout_s: float = COMMAND_S) -> str:
    """What it printed. Raises CalledProcessError with its complaint, TimeoutExpired."""
    result = subprocess.run(
        words, input=said, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if result.returncode:
        raise subprocess.CalledProcessError(
            result.returncode, " ".join(words), result.stdout, result.stderr
        )
    return result.stdout


def ip(*words: str) -> str:
    return command("", "ip", *words)


def free_subnet() -> str:
    """The first three numbers of a network that nothing here is routed to."""
    routes = ip("-4", "route") + ip("-4", "addr")
    for number in range(SUBNETS):
        net = f"10.213.{(os.getpid() + number) % 256}"
        if f"{net}." not in routes:
            return net
    raise OSError("no free network in 10.213.0.0/16")


def remove(mark: str) -> None:
    """Namespaces, with what is in them, and the bridge; as much of it as there is."""
    for space in spaces():
        if space.startswith(f"{mark}-"):
            ip("netns", "del", space)
    for link in sorted(links()):
        # The ends of pairs whose other end went with its namespace may be gone by now.
        if link == mark or link.startswith((f"{mark}v", f"{mark}s")):
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("link", "del", link)


def clear_leftovers() -> None:
    """What processes that are gone have left."""
    names = {name.partition("-")[0] for name in spaces()} | links()
    for name in names:
        pid = name.removeprefix(PREFIX)
        if name.startswith(PREFIX) and pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            remove(name)


def spaces() -> list[str]:
    return [line.split()[0] for line in ip("netns", "list").splitlines() if line.strip()]


def links() -> set[str]:
    return set(os.listdir("/sys/class/net"))


@functools.cache
def usable() -> str:
    """Why namespaces cannot be used here; "" when they can. Installs iptables where it may."""
    if os.geteuid() != 0:
        return "not root"
    missing = [name for name in ("ip", "iptables-restore", "nsenter") if not shutil.which(name)]
    if missing and shutil.which("apt-get"):
        missing = _install(missing)
    if missing:
        return f"missing: {', '.join(missing)}"
    return _trial()


def _install(missing: Sequence[str]) -> list[str]:
    options = ["-y", "-qq", "-o", f"DPkg::Lock::Timeout={INSTALL_S:.0f}"]
    packages = ["iproute2", "iptables", "util-linux"]
    with contextlib.suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
        command("", "apt-get", "update", "-qq", timeout_s=INSTALL_S)
        command("", "apt-get", "install", *options, *packages, timeout_s=2 * INSTALL_S)
    return [name for name in missing if not shutil.which(name)]


def _trial() -> str:
    """A network with a rule, made and removed."""
    trial = Namespaces()
    try:
        try:
            trial.try_out()
        finally:
            remove(trial.mark)
    except (OSError, subprocess.SubprocessError) as error:
        return f"the kernel refuses: {getattr(error, 'stderr', '') or error}".strip()
    return ""
