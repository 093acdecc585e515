"""Frames as NATS messages: a server takes messages up to a size, so a large frame goes in parts.

Usually a frame is one message. A single record may be larger than a server takes; then its parts
follow each other on the partition's subject, and the writer puts them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

MESSAGE_ID: Final = "Nats-Msg-Id"
PART: Final = "Tupelo-Part"
"""`INDEX/COUNT` of a part, from 0; messages without it are whole frames."""

PARTS_MAX: Final = 4096
AGE_MAX: Final = 2
"""Calls of `grow_older` that a frame survives without a further part."""

Message = TypeVar("Message")


class BadPart(ValueError):
    """A message whose headers make no sense."""


def split(payload: bytes, identity: str, size: int) -> list[tuple[dict[str, str], bytes]]:
    """(headers, data) of each message, with at most `size` bytes of data."""
    if len(payload) <= size:
        return [({MESSAGE_ID: identity}, payload)]
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
    return [
        ({MESSAGE_ID: f"{identity}/{index}", PART: f"{index}/{len(pieces)}"}, piece)
        for index, piece in enumerate(pieces)
    ]


@dataclass(slots=True)
class _Begun(Generic[Message]):
    identity: str
    count: int
    pieces: dict[int, bytes] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    age: int = 0


class Assembler(Generic[Message]):
    """Puts parts together. A subject has one frame begun at most: a unit sends the next one of a
    partition only after the answer, so whatever another replaces was given up by its sender."""

    def __init__(self) -> None:
        self._begun: dict[str, _Begun[Message]] = {}

    def add(
        self, subject: str, headers: Mapping[str, str] | None, data: bytes, message: Message
    ) -> tuple[bytes | None, list[Message], list[Message]]:
        """(a whole frame's bytes or None, its messages, messages that were given up).

        Raises BadPart.
        """
        part = (headers or {}).get(PART)
        if part is None:
            return data, [message], self._give_up(subject)
        index, count = _numbers(part)
        identity = (headers or {}).get(MESSAGE_ID, "").rpartition("/")[0]
        begun = self._begun.get(subject)
        given_up: list[Message] = []
        if begun is None or (begun.identity, begun.count) != (identity, count):
            given_up = self._give_up(subject)
            begun = self._begun[subject] = _Begun(identity, count)
        begun.age = 0
        begun.pieces[index] = data
        begun.messages.append(message)
        if len(begun.pieces) < count:
            return None, [], given_up
        del self._begun[subject]
        whole = b"".join(begun.pieces[at] for at in range(count))
        return whole, begun.messages, given_up

    def grow_older(self) -> list[Message]:
        """To be called now and then. The messages of frames of which nothing came since the call
        before the last one: their sender is gone."""
        given_up = []
        for subject, begun in list(self._begun.items()):
            begun.age += 1
            if begun.age > AGE_MAX:
                given_up += self._give_up(subject)
        return given_up

    def _give_up(self, subject: str) -> list[Message]:
        begun = self._begun.pop(subject, None)
        return [] if begun is None else begun.messages


def _numbers(part: str) -> tuple[int, int]:
    index, _, count = part.partition("/")
    if not (index.isdecimal() and count.isdecimal() and len(part) < 16):
        raise BadPart(f"part {part[:32]!r}")
    if not int(index) < int(count) <= PARTS_MAX:
        raise BadPart(f"part {part}")
    return int(index), int(count)
