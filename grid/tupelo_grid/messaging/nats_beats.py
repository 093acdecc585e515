"""The signs of life that data writers give each other, and the units. Pure.

They say who takes part, which is how writers divide the partitions, and how each one's store is,
which is how a unit knows why nothing is persisted.
"""

from __future__ import annotations

from typing import Final

import msgspec

WRITERS_MAX: Final = 256
"""Writers remembered; signs of life of further ones are passed over."""


class Beat(msgspec.Struct, frozen=True, omit_defaults=True):
    """`hello`: it has just come and wants to hear the others. `leaving`: it takes no part any
    more. The rest as in `WriterStats`."""

    writer: str
    hello: bool = False
    leaving: bool = False
    error: str = ""
    store: str = ""
    persisted_records: int = 0
    dead_letters: int = 0


_decoder = msgspec.json.Decoder(Beat)


def encode_beat(beat: Beat) -> bytes:
    return msgspec.json.encode(beat)


def decode_beat(data: bytes) -> Beat | None:
    """None for what is none."""
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


class Roll:
    """Who was heard within `writer_s` seconds."""

    def __init__(self, writer_s: float) -> None:
        self._writer_s = writer_s
        self._heard: dict[str, tuple[float, Beat]] = {}

    def hear(self, beat: Beat, now: float) -> bool:
        """Whether that changes who takes part."""
        if beat.leaving:
            return self._heard.pop(beat.writer, None) is not None
        known = beat.writer in self._heard
        if known or len(self._heard) < WRITERS_MAX:
            self._heard[beat.writer] = (now, beat)
        return not known

    def live(self, now: float) -> list[Beat]:
        """By name; those that were silent for too long are forgotten."""
        gone = [name for name, (at, _) in self._heard.items() if now - at > self._writer_s]
        for name in gone:
            del self._heard[name]
        return [self._heard[name][1] for name in sorted(self._heard)]

    def error(self, now: float) -> str:
        """Why nothing can be stored, as far as the writers know; "" when all goes well."""
        live = self.live(now)
        if not live:
            return f"no data writer was heard of for {self._writer_s:g} s"
        return next((beat.error for beat in live if beat.error), "")
