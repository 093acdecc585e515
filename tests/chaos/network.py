"""The network of a grid under test, in our hands: what its processes need to know, and its faults.

Two forms: namespaces of the kernel (tests/chaos/namespaces.py), where packets are lost, and a proxy
of TCP (tests/chaos/links.py), where we are not root, which holds bytes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

Pair = tuple[str, str]  # sender, receiver
AddressOf = Callable[[str], str]
"""Where a process listens now, "" for nowhere."""

CONTROL: Final = "control"
MESSAGING: Final = "messaging"


@dataclass(frozen=True)
class Wiring:
    """Settings of the grid (see GridConfig) under which its traffic takes our ways."""

    hosts: Mapping[str, str] = field(default_factory=dict)
    launchers: Mapping[str, str] = field(default_factory=dict)
    via: Mapping[str, str] = field(default_factory=dict)

    def toml(self) -> str:
        lines = []
        for name in ("hosts", "launchers", "via"):
            lines.append(f"[{name}]")
            lines += [f'"{key}" = "{value}"' for key, value in getattr(self, name).items()]
        return "\n".join([*lines, ""])


class Network(Protocol):
    """Between units, and between units and control. Each fault lasts until `heal`.

    Attributes:
        kind: "namespaces" or "proxy".
    """

    kind: str

    async def open(self, units: Sequence[str], address_of: AddressOf) -> Wiring:
        """Before the grid starts. Raises OSError."""

    async def close(self) -> None:
        """After the grid has ended; whatever became of `open`."""

    async def cut(self, pairs: Iterable[Pair]) -> None:
        """Nothing gets from the senders to the receivers; nobody is told."""

    async def reset(self, pairs: Iterable[Pair]) -> None:
        """Connections are broken, and new ones refused."""

    async def delay(self, pairs: Iterable[Pair], seconds: float) -> None:
        """What is sent arrives so much later."""

    async def heal(self) -> None: ...


def out_of(one: str, others: Iterable[str]) -> list[Pair]:
    return [(one, other) for other in others]


def into(one: str, others: Iterable[str]) -> list[Pair]:
    return [(other, one) for other in others]


def both(one: str, others: Sequence[str]) -> list[Pair]:
    return out_of(one, others) + into(one, others)
